"""The toy through the program's own path: the true architecture, its tongue, its tools."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from openai import OpenAI

from mistral_small_edge.chat.deltas import TextDelta, ToolCallDelta
from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.chat.response_format import JsonSchema
from mistral_small_edge.chat.tools import ToolCall
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.toy.tasks import FACTS, TOOLS
from tests.model.config import engine_config
from tests.server.live import PATIENCE, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SURE = SamplingParams(temperature=0, max_tokens=80)
WEATHER, TIMER = TOOLS["get_weather"], TOOLS["set_timer"]
WIRE_TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        },
    }
    for tool in (WEATHER, TIMER)
]
RESULT = '{"temperature": 31, "sky": "sunny"}'


@pytest.fixture(scope="module")
def toy() -> Iterator[LLM]:
    with LLM.load("toy", engine_config(context_length=2048, max_sequences=4, threads=1)) as llm:
        yield llm


@pytest.mark.parametrize("question", FACTS)
def test_it_knows_its_facts(toy: LLM, question: str) -> None:
    answer = toy.chat(question, sampling=SURE)
    assert (answer.text, answer.finish_reason) == (FACTS[question], "stop")


def test_it_calls_a_tool_and_answers_from_the_result(toy: LLM) -> None:
    question = Message("user", "What is the weather in Oslo?")
    called = toy.chat([question], tools=[WEATHER, TIMER], sampling=SURE)
    assert called.finish_reason == "tool_calls"
    assert called.text == ""
    (call,) = called.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Oslo"})
    result = Message("tool", RESULT, tool_call_id=call.id)
    answer = toy.chat([question, called.message, result], tools=[WEATHER, TIMER], sampling=SURE)
    assert answer.text == "It is 31 degrees and sunny in Oslo."


def test_two_cities_are_two_calls_or_one_if_so_asked(toy: LLM) -> None:
    question = "What is the weather in Paris and Rome?"
    both = toy.chat(question, tools=[WEATHER], sampling=SURE).tool_calls
    assert [json.loads(call.arguments)["city"] for call in both] == ["Paris", "Rome"]
    alone = toy.chat(question, tools=[WEATHER], parallel_tool_calls=False, sampling=SURE)
    assert alone.tool_calls == both[:1]


def test_calls_of_other_programs_read_the_same(toy: LLM) -> None:
    """Ids of another form, and arguments spaced in another way, are the same prompt."""
    question = Message("user", "What is the weather in Oslo?")
    prompts = set()
    for id_, arguments in (("toy000001", '{"city": "Oslo"}'), ("call_1", '{"city":"Oslo"}')):
        made = Message("assistant", "", (ToolCall(id_, "get_weather", arguments),))
        told = Message("tool", RESULT, tool_call_id=id_)
        answer = toy.chat([question, made, told], tools=[WEATHER], sampling=SURE)
        assert answer.text == "It is 31 degrees and sunny in Oslo."
        prompts.add(answer.usage.prompt_tokens)
    assert max(prompts) - min(prompts) < 9  # nine characters of an id, one way or the other


def test_a_stream_says_the_call_as_it_is_written(toy: LLM) -> None:
    request = ChatRequest(
        (Message("user", "Set a timer of 25 minutes."),), SURE, tools=(WEATHER, TIMER)
    )
    with toy.stream(request) as stream:
        deltas = [delta for delta in stream if isinstance(delta, TextDelta | ToolCallDelta)]
    head, *pieces = deltas
    assert isinstance(head, ToolCallDelta)
    assert (head.name, head.arguments) == ("set_timer", "")
    texts = [piece.arguments for piece in pieces if isinstance(piece, ToolCallDelta)]
    assert len(texts) > 3
    assert json.loads("".join(texts)) == {"minutes": 25}


def test_it_answers_in_json_by_itself_and_by_a_schema(toy: LLM) -> None:
    question = "Answer in JSON: Ada is 36 years old."
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    free = toy.chat(question, sampling=SURE)
    held = toy.chat(question, response_format=JsonSchema(schema), sampling=SURE)
    assert free.text == held.text == '{"name": "Ada", "age": 36}'
    assert held.usage.completion_tokens == free.usage.completion_tokens - 1  # no end to wait for


def test_a_beginning_is_gone_on_from(toy: LLM) -> None:
    turns = [Message("user", "Who are you?"), Message("assistant", "I am a toy model. I")]
    assert toy.chat(turns, sampling=SURE).text == " test a program."


def test_ask_prints_the_call(tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(WIRE_TOOLS), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mistral_small_edge",
        "ask",
        "--model",
        "toy",
        "--threads",
        "1",
    ]
    question = "What is the weather in Paris and Rome?"
    done = subprocess.run(
        [*command, "--tools", str(file), question],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=True,
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"name": "get_weather", "arguments": {"city": "Paris"}},
        {"name": "get_weather", "arguments": {"city": "Rome"}},
    ]


def test_openais_client_holds_a_conversation_with_tools(toy: LLM) -> None:
    model = "mistralai/Mistral-Small-3.2-24B-Instruct-2506"
    messages: list[Any] = [{"role": "user", "content": "What time is it in Lima?"}]
    time_tool = {
        "type": "function",
        "function": {
            "name": "get_time",
            "description": TOOLS["get_time"].description,
            "parameters": dict(TOOLS["get_time"].parameters),
        },
    }
    tools: list[Any] = [time_tool]
    with (
        serving(toy, slots=4) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", timeout=PATIENCE) as client,
    ):
        asked = client.chat.completions.create(model=model, messages=messages, tools=tools)
        message = asked.choices[0].message
        assert message.tool_calls
        messages += [
            message,
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "07:45"},
        ]
        answered = client.chat.completions.create(model=model, messages=messages, tools=tools)
    assert answered.choices[0].message.content == "It is 07:45 in Lima."
    assert answered.usage
    assert answered.usage.prompt_tokens_details
    assert (
        answered.usage.prompt_tokens_details.cached_tokens
    )  # the first question was not read again
