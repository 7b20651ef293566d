"""Chat completions through OpenAI's own client: every parameter, whole and streamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from openai import BadRequestError, NotFoundError

if TYPE_CHECKING:
    from openai import OpenAI

MODEL = "mistralai/Mistral-Small-3.2-24B-Instruct-2506"
QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Rome?"}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "maximum": 9, "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}  # fmt: skip
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "get_person", "description": "A person.", "parameters": SCHEMA},
    }
]


def ask(client: OpenAI, **more: Any) -> Any:
    given: dict[str, Any] = {
        "model": MODEL,
        "messages": QUESTION,
        "max_tokens": 12,
        "seed": 1,
    } | more
    return client.chat.completions.create(**given)


def test_an_answer_has_openais_shape(client: OpenAI) -> None:
    answer = ask(client)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == MODEL
    assert answer.system_fingerprint.startswith("fp_")
    (choice,) = answer.choices
    assert choice.finish_reason == "length"
    assert choice.message.role == "assistant"
    assert choice.message.content
    usage = answer.usage
    assert usage.completion_tokens == 12
    assert usage.total_tokens == usage.prompt_tokens + 12
    assert usage.prompt_tokens_details.cached_tokens >= 0
    assert answer.timings["time_to_first_token_seconds"] > 0


def test_a_stream_spells_the_whole_answer(client: OpenAI) -> None:
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(texts) == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 12
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_same_seed_same_answer_and_another_seed_another(client: OpenAI) -> None:
    first, again, other = (
        ask(client, seed=seed, temperature=1).choices[0].message.content for seed in (5, 5, 6)
    )
    assert first == again != other


def test_temperature_zero_repeats_without_a_seed(client: OpenAI) -> None:
    texts = {ask(client, seed=None, temperature=0).choices[0].message.content for _ in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"top_p": 0.5},
        {"frequency_penalty": 2.0, "presence_penalty": -2.0},
        {"max_completion_tokens": 12},
        {"stop": "\u0000"},
        {"stop": ["a b c", "d e f", "g h i", "j k l"]},
        {"logit_bias": {"1100": 3}},
        {"user": "somebody", "metadata": {"team": "a"}},
        {"extra_body": {"top_k": 5, "min_p": 0.1, "repeat_penalty": 1.1}},
        {"response_format": {"type": "text"}},
        {"parallel_tool_calls": False, "tools": TOOLS},
    ],
)
def test_every_parameter_is_taken(client: OpenAI, more: dict[str, Any]) -> None:
    assert ask(client, **more).usage.completion_tokens > 0


def test_a_bias_decides(client: OpenAI) -> None:
    answer = ask(client, logit_bias={"1097": 100}, max_tokens=4, temperature=0)
    assert answer.choices[0].message.content == "aaaa"


def test_stop_strings_end_the_answer_and_are_no_part_of_it(client: OpenAI) -> None:
    answer = ask(client, logit_bias={"1097": 100}, stop="aaa")
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "stop")


def test_log_probabilities(client: OpenAI) -> None:
    answer = ask(client, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert "".join(one.token for one in content) == answer.choices[0].message.content
    for one in content:
        assert len(one.top_logprobs) == 3
        assert one.logprob <= one.top_logprobs[0].logprob <= 0
        assert bytes(one.bytes).decode("utf-8", "replace") == one.token
    streamed = ask(client, logprobs=True, stream=True)
    scored = [
        one
        for chunk in streamed
        if chunk.choices[0].logprobs
        for one in chunk.choices[0].logprobs.content
    ]
    assert [one.token for one in scored] == [one.token for one in content]  # fmt: skip


def test_several_choices_differ_and_repeat(client: OpenAI) -> None:
    first, again = (ask(client, n=2, temperature=1.5) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1]
    assert len(set(texts)) == 2
    assert [choice.message.content for choice in again.choices] == texts
    assert first.usage.completion_tokens == 24
    streamed = ["", ""]
    for chunk in ask(client, n=2, temperature=1.5, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


@pytest.mark.parametrize(
    "wanted",
    [
        {
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": SCHEMA, "strict": True},
        },
        {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}},
    ],
)
def test_a_schema(client: OpenAI, wanted: dict[str, Any]) -> None:
    answer = ask(client, response_format=wanted, max_tokens=300)
    person = json.loads(answer.choices[0].message.content)
    assert person.keys() == {"name", "age"}


def test_other_shapes(client: OpenAI) -> None:
    shapes = [
        ({"type": "enum", "enum": ["yes", "no"]}, {"yes", "no"}),
        ({"type": "regex", "regex": "a{3}|b{3}"}, {"aaa", "bbb"}),
        ({"type": "grammar", "grammar": 'start: "x" | "y"'}, {"x", "y"}),
    ]
    for wanted, possible in shapes:
        assert ask(client, response_format=wanted).choices[0].message.content in possible
    anything = ask(client, response_format={"type": "json_object"})
    assert anything.choices[0].message.content.startswith("{")


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_person"}}]
)
def test_a_tool_is_called_and_its_result_taken(client: OpenAI, choice: Any) -> None:
    more = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 300}
    answer = ask(client, **more).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.message.content is None
    (call,) = answer.message.tool_calls
    assert call.function.name == "get_person"
    assert json.loads(call.function.arguments).keys() == {"name", "age"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "found"}
    after = ask(
        client, tools=TOOLS, messages=[*QUESTION, answer.message, result], tool_choice="none"
    )
    assert after.choices[0].message.content

    spelt = {"id": "", "name": "", "arguments": ""}
    for chunk in ask(client, stream=True, **more):
        for piece in chunk.choices[0].delta.tool_calls or ():
            assert piece.index == 0
            spelt["id"] += piece.id or ""
            spelt["name"] += piece.function.name or ""
            spelt["arguments"] += piece.function.arguments or ""
    assert spelt["name"] == "get_person"
    assert spelt["arguments"] == call.function.arguments


def test_ids_of_other_programs_are_taken(client: OpenAI) -> None:
    call = {"id": "call_abc-123", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {
            "role": "tool",
            "tool_call_id": "call_abc-123",
            "content": [{"type": "text", "text": "1"}],
        },
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "And?"}]},
    ]
    assert ask(client, messages=messages).choices[0].message.content


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        ({"temperature": 3}, "temperature", "between 0 and 2"),
        ({"top_p": 0}, "top_p", "above 0"),
        ({"frequency_penalty": 2.5}, "frequency_penalty", "between -2 and 2"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
        ({"stop": [""]}, "stop", "empty"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 3}, "n", "2 slots"),
        ({"tools": TOOLS * 300}, "tools", "at most 256"),
        ({"max_tokens": 0}, "max_tokens", "between 1"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", "older name"),
        ({"top_logprobs": 2}, "top_logprobs", "logprobs: true"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "no token id"),
        ({"logit_bias": {"999999": 1}}, "logit_bias", "999999"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role", "system"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.tool_call_id", "role tool"),
        ({"tool_choice": "required"}, "tool_choice", "tools is empty"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            "get_person",
        ),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.function.name", "a b"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"uniqueItems": True}}}},
            "response_format",
            "uniqueItems",
        ),
        ({"response_format": {"type": "xml"}}, "response_format", "does not match any of the expected"),
        ({"extra_body": {"best_of": 2}}, "best_of", "not a field"),
        ({"messages": [{"role": "user", "content": "x", "name": "me"}]}, "messages.0.name", "not a field"),
        ({"temperature": "hot"}, "temperature", "valid number"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "messages.0.content.0.image_url",
            "noise is loaded without a projector",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(
    client: OpenAI, more: dict[str, Any], param: str, words: str
) -> None:
    for stream in (False, True):
        streamed = more if "stream_options" in more else {**more, "stream": stream}
        with pytest.raises(BadRequestError, match=words) as caught:
            ask(client, **streamed)
        assert caught.value.param == param
        assert caught.value.type == "invalid_request_error"


def test_a_prompt_that_does_not_fit_names_both_numbers(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(client, messages=[{"role": "user", "content": "long " * 3000}])
    body: Any = caught.value.body
    assert caught.value.code == "context_length_exceeded"
    assert body["prompt_tokens"] > body["limit"] == 2048
    assert "2048" in body["message"]


def test_another_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match=r"mistral-small-3\.2") as caught:
        ask(client, model="gpt-5")
    assert caught.value.code == "model_not_found"
