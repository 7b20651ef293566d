"""Answers held to a shape: a model of noise still calls the right tool and fits every schema.

Its weights are random and its temperature is 2, so whatever is right about an answer is the
grammar's doing.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from mistral_small_edge.chat.deltas import ChatResponse, Finish, TextDelta, ToolCallDelta, collect
from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.chat.response_format import (
    Choice,
    JsonObject,
    JsonSchema,
    LarkGrammar,
    Regex,
    ResponseFormat,
)
from mistral_small_edge.chat.tools import NamedTool, Tool, ToolCall, ToolChoice
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import InvalidGrammar, InvalidRequest
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.toy.tekken import Tekken
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

WILD = SamplingParams(temperature=2, max_tokens=400, seed=1)
QUESTION = (Message("user", "What is the weather in Rome?"),)
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "kind": {"enum": ["child", "adult"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
WEATHER = Tool(
    "get_weather",
    "Weather.",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 6}, "days": {"type": "integer", "maximum": 9, "minimum": 1}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
)  # fmt: skip
TIME = Tool(
    "get_time", "Time.", {"type": "object", "properties": {}, "additionalProperties": False}
)
TOOLS = {tool.name: tool for tool in (WEATHER, TIME)}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    path = tmp_path_factory.mktemp("tiny") / "v11.gguf"
    write_tiny_model(path, chat_template=None, tekken=Tekken(), shape=TinyShape(context=2048))
    with LLM.load(path, EngineConfig(context_length=2048, max_sequences=2, threads=1)) as llm:
        yield llm


def ask(llm: LLM, request: ChatRequest, seed: int = 1) -> ChatResponse:
    sampling = replace(request.sampling or WILD, seed=seed)
    with llm.stream(replace(request, sampling=sampling)) as stream:
        return collect(stream)


def formatted(wanted: ResponseFormat) -> ChatRequest:
    return ChatRequest(QUESTION, response_format=wanted)


def offered(choice: ToolChoice, *, many: bool = True) -> ChatRequest:
    return ChatRequest(
        QUESTION, tools=(WEATHER, TIME), tool_choice=choice, parallel_tool_calls=many
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_schema_is_kept_to_whatever_the_model_would_say(llm: LLM, seed: int) -> None:
    answer = ask(llm, formatted(JsonSchema(PERSON)), seed)
    assert answer.finish_reason == "stop"
    Draft202012Validator(PERSON).validate(json.loads(answer.text))


@pytest.mark.parametrize("seed", range(4))
def test_other_shapes_are_kept_to(llm: LLM, seed: int) -> None:
    options = ("yes", "no", 'per"haps\n', "日本")
    assert ask(llm, formatted(Choice(options)), seed).text in options
    dated = "[0-9]{4}/[0-9][0-9]\n[^a]{1,3}"  # \d has digits of a later Unicode than Python's
    assert re.fullmatch(dated, ask(llm, formatted(Regex(dated)), seed).text)
    sums = ask(llm, formatted(LarkGrammar('start: N ("+" N){1,2}\nN: /[0-9]{1,3}/')), seed).text
    assert re.fullmatch(r"\d{1,3}(\+\d{1,3}){1,2}", sums)


@pytest.mark.parametrize("seed", range(4))
def test_any_object_is_an_object_or_unfinished(llm: LLM, seed: int) -> None:
    answer = ask(llm, formatted(JsonObject()), seed)
    assert answer.text.startswith("{")
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.text), dict)


def test_an_answer_that_can_only_end_ends_without_another_step(llm: LLM) -> None:
    answer = ask(llm, formatted(Choice(("yes",))))
    assert answer.usage.completion_tokens == len(llm.tokenizer.encode("yes"))


def test_log_probabilities_are_the_models_own(llm: LLM) -> None:
    scored = replace(WILD, top_logprobs=2)
    answer = ask(llm, replace(formatted(Choice(("yes",))), sampling=scored))
    assert "".join(one.token for one in answer.logprobs) == "yes"
    for one in answer.logprobs:
        assert one.logprob < -1  # a forced token has no probability of 1
        assert one.logprob <= max(other.logprob for other in one.top)


def fits(call: ToolCall) -> bool:
    return Draft202012Validator(TOOLS[call.name].parameters).is_valid(json.loads(call.arguments))


@pytest.mark.parametrize("seed", range(6))
def test_required_calls_and_nothing_else(llm: LLM, seed: int) -> None:
    answer = ask(llm, offered("required"), seed)
    assert answer.text == ""
    assert answer.tool_calls
    if answer.finish_reason == "length":  # it may call without end
        answer = replace(answer, tool_calls=answer.tool_calls[:-1])
    else:
        assert answer.finish_reason == "tool_calls"
    assert all(map(fits, answer.tool_calls))
    assert len({call.id for call in answer.tool_calls}) == len(answer.tool_calls)


@pytest.mark.parametrize("seed", range(6))
def test_a_named_tool_is_that_tool_once(llm: LLM, seed: int) -> None:
    (call,) = ask(llm, offered(NamedTool("get_weather")), seed).tool_calls
    assert call.name == "get_weather"
    assert fits(call)
    assert json.dumps(json.loads(call.arguments), ensure_ascii=False) == call.arguments


@pytest.mark.parametrize("seed", range(6))
def test_one_call_at_a_time_if_so_asked(llm: LLM, seed: int) -> None:
    answer = ask(llm, offered("required", many=False), seed)
    assert len(answer.tool_calls) == 1
    assert answer.finish_reason == "tool_calls"


def eager(llm: LLM, request: ChatRequest) -> ChatRequest:
    """The request of a caller whose model likes to call."""
    likes = {llm.tokenizer.control_tokens["[TOOL_CALLS]"]: 100.0}
    return replace(request, sampling=replace(WILD, logit_bias=likes, max_tokens=120))


@pytest.mark.parametrize("choice", [None, "auto"])
def test_auto_is_free_until_the_model_calls_and_held_from_there_on(
    llm: LLM, choice: ToolChoice | None
) -> None:
    free = ask(llm, replace(offered("auto"), tool_choice=choice))
    assert free.text
    answer = ask(llm, eager(llm, replace(offered("auto"), tool_choice=choice)))
    assert len(answer.tool_calls) > 1
    assert all(map(fits, answer.tool_calls[:-1]))


def test_none_never_calls(llm: LLM) -> None:
    answer = ask(llm, eager(llm, offered("none")))
    assert answer.text
    assert not answer.tool_calls


def test_tools_and_a_schema_together(llm: LLM) -> None:
    request = replace(offered("auto"), response_format=JsonSchema(PERSON))
    answer = ask(llm, eager(llm, request))
    assert all(map(fits, answer.tool_calls[:-1]))
    assert not answer.text.startswith("{")
    never = {llm.tokenizer.control_tokens["[TOOL_CALLS]"]: -100.0}
    shy = ask(llm, replace(request, sampling=replace(WILD, logit_bias=never)))
    Draft202012Validator(PERSON).validate(json.loads(shy.text))
    forbidden = ask(llm, eager(llm, replace(request, tool_choice="none")))
    assert forbidden.text.startswith("{")


def test_a_stop_string_ends_prose_and_not_a_call(llm: LLM) -> None:
    stop = replace(WILD, stop=("{", "e"))
    answer = ask(llm, replace(offered(NamedTool("get_weather")), sampling=stop))
    assert fits(answer.tool_calls[0])


def test_a_stream_names_the_call_before_its_arguments(llm: LLM) -> None:
    with llm.stream(replace(offered(NamedTool("get_weather")), sampling=WILD)) as stream:
        deltas = [
            delta for delta in stream if isinstance(delta, ToolCallDelta | TextDelta | Finish)
        ]
    first = deltas[0]
    assert isinstance(first, ToolCallDelta)
    assert (first.name, first.arguments) == ("get_weather", "")
    assert len(deltas) > 4


def test_a_beginning_is_part_of_what_is_held_to_the_shape(llm: LLM) -> None:
    begun = (*QUESTION, Message("assistant", '{"name": "Ada", "age": 3'))
    answer = ask(llm, ChatRequest(begun, response_format=JsonSchema(PERSON)))
    person = json.loads('{"name": "Ada", "age": 3' + answer.text)
    assert person["name"] == "Ada"
    Draft202012Validator(PERSON).validate(person)
    with pytest.raises(InvalidRequest, match="cannot be continued") as caught:
        ask(
            llm, ChatRequest((*QUESTION, Message("assistant", "Ada")), response_format=JsonObject())
        )
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (JsonSchema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (JsonSchema({"not": {"type": "string"}}), "not"),
        (JsonSchema({"type": "string", "format": "regex"}), "format"),
        (JsonSchema({"$ref": "https://example.org/schema"}), "example.org"),
        (JsonSchema({"type": "object", "minProperties": 2}), "minProperties"),
        (JsonSchema({"items": {"minProperties": 2}}), "minProperties"),
        (JsonSchema({"x-guidance": {"lenient": True}}), "x-guidance"),
        (JsonSchema({"const": "a\0b"}), "control character"),
        (JsonSchema(False), "false"),
        (JsonSchema({"enum": ["x" * 100] * 30_000}), "characters"),
        (Regex("(?=a)b"), "look-around"),
        (Regex("a" * 10 + "("), "unclosed group"),
        (LarkGrammar("start: ("), "response_format"),
        (LarkGrammar('begin: "a"'), "start"),
    ],
)
def test_what_cannot_be_enforced_is_refused_and_the_reason_named(
    llm: LLM, wanted: ResponseFormat, words: str
) -> None:
    with pytest.raises(InvalidGrammar, match=words) as caught:
        llm.stream(formatted(wanted))
    assert caught.value.param == "response_format"


def test_a_tool_that_cannot_be_enforced_is_named(llm: LLM) -> None:
    schema = {"properties": {"a": {"uniqueItems": True}}}
    strict = Tool("wide", parameters=schema, strict=True)
    with pytest.raises(InvalidGrammar, match=r"the parameters of wide.*uniqueItems") as caught:
        llm.stream(ChatRequest(QUESTION, tools=(WEATHER, strict)))
    assert caught.value.param == "tools.function.parameters"
    lenient = ChatRequest(QUESTION, tools=(WEATHER, replace(strict, strict=False)))
    assert ask(llm, lenient).usage.completion_tokens


@pytest.mark.parametrize(
    "wanted",
    [
        Regex("a{2000000}"),
        Regex("((a{0,1000}b{0,1000}){0,1000}c{0,1000}){0,1000}d"),
        Regex("(.*a.*b.*c){40}"),
        Regex(r"(\p{L}{1,80}\p{N}{1,80}){1,80}"),
        LarkGrammar('start: a a a a a a a a\na: b | b b | ""\nb: c | c c | ""\nc: "x" | "y" | ""'),
        JsonSchema({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 9}}}),
        Choice(tuple(f"option {number}" for number in range(20_000))),
    ],
)
def test_pathological_shapes_are_served_or_refused_within_bounds(
    llm: LLM, wanted: ResponseFormat
) -> None:
    """Either way it ends, and the next request is served."""
    with suppress(InvalidGrammar):
        ask(llm, replace(formatted(wanted), sampling=replace(WILD, max_tokens=60)))
    assert ask(llm, formatted(Choice(("yes",)))).text == "yes"


def test_masks_are_timed_by_token_over_a_text_that_fits(llm: LLM) -> None:
    text = '{"name": "Ada", "age": 36, "kind": "adult"}'
    request = formatted(JsonSchema(PERSON))
    assert len(llm.time_masks(request, text)) == len(llm.tokenizer.encode(text))
    for wrong in (replace(request, response_format=None), formatted(JsonSchema({"const": 1}))):
        with pytest.raises(InvalidRequest):
            llm.time_masks(wrong, text)


def test_a_constrained_answer_repeats_alone_and_among_others(llm: LLM) -> None:
    request = replace(formatted(JsonSchema(PERSON)), sampling=WILD)
    alone = ask(llm, request).text
    with ThreadPoolExecutor(6) as pool:
        others = list(pool.map(lambda seed: ask(llm, offered("required"), seed), range(3)))
        again = list(pool.map(lambda _: ask(llm, request).text, range(6)))
    assert again == [alone] * 6
    assert all(other.tool_calls for other in others)
