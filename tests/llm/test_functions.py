"""Functions as tools: what the model is told of them, how they are run, when the loop ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from mistral_small_edge.chat.deltas import ChatResponse, Timings, Usage
from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.chat.tools import NamedTool, ToolCall
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.llm.functions import python_tool, run_tools


class Place(BaseModel):
    city: str
    title: str = "x"


def get_weather(
    place: Place,
    unit: Literal["C", "F"] = "C",
    *,
    days: Annotated[int, Field(ge=1, le=7)] = 1,
) -> dict[str, Any]:
    """Weather at a place,
    in short.

    Args:
        place: where; a town
            or a village
        unit (str): of temperature
        nothing: is not an argument
    Returns:
        not for the model
    """
    return {"at": place.city, "unit": unit, "days": days}


def add(a: int, b: int) -> int:
    return a + b


def shout(text: str) -> str:
    if not text:
        raise ValueError("nothing to shout")
    return text.upper()


def test_the_signature_and_the_docstring_are_the_tool() -> None:
    tool = python_tool(get_weather).tool
    assert (tool.name, tool.description) == ("get_weather", "Weather at a place,\nin short.")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "place": {"$ref": "#/$defs/Place", "description": "where; a town or a village"},
            "unit": {
                "type": "string",
                "enum": ["C", "F"],
                "default": "C",
                "description": "of temperature",
            },
            "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 1},
        },
        "required": ["place"],
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "title": {"type": "string", "default": "x"},
                },
                "required": ["city"],
                "additionalProperties": False,
            }
        },
    }


def test_arguments_are_converted_and_results_are_json_or_text() -> None:
    result = python_tool(get_weather).call('{"place": {"city": "Köln"}, "days": 3}')
    assert json.loads(result) == {"at": "Köln", "unit": "C", "days": 3}
    assert python_tool(shout).call('{"text": "hey"}') == "HEY"


def test_arguments_that_do_not_fit_are_told_to_the_model() -> None:
    assert "b: " in json.loads(python_tool(add).call('{"a": 1}'))["error"]


def test_what_the_function_raises_is_the_callers() -> None:
    def nested(city: int) -> Place:
        return Place.model_validate({"city": city})

    with pytest.raises(ValueError, match="nothing to shout"):
        python_tool(shout).call('{"text": ""}')
    with pytest.raises(ValueError, match="Place"):
        python_tool(nested).call('{"city": 3}')


def positional(a: int, /) -> None: ...


def variable(*numbers: int) -> None: ...


async def coroutine(a: int) -> None: ...


def untyped_connection(connection: object_without_schema) -> None: ...


class object_without_schema:  # noqa: N801 - stands for a foreign library's class
    pass


@pytest.mark.parametrize("function", [positional, variable, coroutine, untyped_connection])
def test_a_function_that_json_cannot_call_is_refused(function: Any) -> None:
    with pytest.raises(InvalidRequest, match=function.__name__) as caught:
        python_tool(function)
    assert caught.value.param == "tools"


def response(text: str = "", *calls: ToolCall) -> ChatResponse:
    reason: Literal["tool_calls", "stop"] = "tool_calls" if calls else "stop"
    return ChatResponse(text, reason, Usage(1, 1, 0), Timings(0, 0, 0), tool_calls=calls)


class Caller:
    """Calls `add` as long as it is allowed to and `most` allows, then answers."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.requests: list[ChatRequest] = []

    def __call__(self, request: ChatRequest) -> ChatResponse:
        self.requests.append(request)
        number = len(self.requests)
        if request.tool_choice == "none" or number > self.most:
            return response("done")
        return response(
            "", ToolCall(f"id{number}a", "add", '{"a": 1, "b": 2}'), ToolCall(f"id{number}b", "add", "{}")
        )  # fmt: skip


QUESTION = ChatRequest(
    (Message("user", "1 + 2?"),), tools=(python_tool(add).tool,), tool_choice=NamedTool("add")
)


def test_the_loop_tells_results_until_the_model_answers() -> None:
    model = Caller(most=2)
    final = run_tools(model, QUESTION, [python_tool(add)], rounds=5)
    assert final.text == "done"
    assert [message.role for message in final.earlier] == ["assistant", "tool", "tool"] * 2
    assert final.earlier[1] == Message("tool", "3", tool_call_id="id1a")
    assert model.requests[-1].messages == (*QUESTION.messages, *final.earlier)
    assert [request.tool_choice for request in model.requests[1:]] == ["auto", "auto"]


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_loop_is_bounded_and_still_ends_with_an_answer(rounds: int) -> None:
    model = Caller(most=100)
    assert run_tools(model, QUESTION, [python_tool(add)], rounds=rounds).text == "done"
    assert len(model.requests) == rounds + 1


def test_an_answer_without_calls_ends_it_at_once() -> None:
    final = run_tools(Caller(most=0), replace(QUESTION, tool_choice=None), [python_tool(add)], 5)
    assert (final.text, final.earlier) == ("done", ())
