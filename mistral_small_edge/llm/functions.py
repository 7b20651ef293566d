"""Python's own things in a conversation: functions as tools, classes as the shape of an answer.

A function's signature and docstring become the tool; pydantic reads the one and checks the
arguments that come back. What a function raises is the caller's to see, and is not told to the
model: a function that wants to say "no such city" returns it.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_json

from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.chat.response_format import JsonSchema
from mistral_small_edge.chat.tools import Tool
from mistral_small_edge.errors import AnswerCutShort, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mistral_small_edge.chat.deltas import ChatResponse
    from mistral_small_edge.chat.tools import ToolCall

T = TypeVar("T")

# Where other JSON than a schema stands: a "title" in there is not ours to take away.
_DATA = {"default", "const", "enum", "examples"}
_NAMED_SCHEMAS = {"properties", "$defs"}
_ARGUMENT = re.compile(r"^(\s*)\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


@dataclass(frozen=True, slots=True)
class PythonTool:
    """A function, and the tool that it is to the model."""

    tool: Tool
    adapter: TypeAdapter[Any]

    def call(self, arguments: str) -> str:
        """Run the function on JSON arguments.

        Returns:
            What it returned: a string as it is, anything else as JSON. Arguments that do not
            fit are answered with what is wrong with them, for the model to mend.
        """
        try:
            result = self.adapter.validate_json(arguments)
        except ValidationError as error:
            if error.title != f"call[{self.tool.name}]":  # raised inside the function
                raise
            wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            return json.dumps({"error": "; ".join(wrong)}, ensure_ascii=False)
        return result if isinstance(result, str) else to_json(result).decode()


def python_tool(function: Callable[..., object]) -> PythonTool:
    """The tool that a function's name, signature and docstring describe.

    The docstring's text before `Args:` describes the tool, the entries below it the arguments.

    Raises:
        InvalidRequest: the function cannot be called with JSON: positional-only or variable
            arguments, a coroutine, a type that no JSON schema describes.
    """
    name = getattr(function, "__name__", repr(function))
    kinds = {one.kind for one in inspect.signature(function).parameters.values()}
    if kinds - {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}:
        raise _unfit(name, "every argument must be one that can be given by name")
    if inspect.iscoroutinefunction(function):
        raise _unfit(name, "it is a coroutine function")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(function)  # type: ignore[arg-type]
        schema = _plain(adapter.json_schema())
    except PydanticUserError as error:
        raise _unfit(name, error.message.splitlines()[0]) from None
    description, arguments = _docstring(inspect.getdoc(function) or "")
    for argument, text in arguments.items():
        if argument in schema["properties"]:
            schema["properties"][argument].setdefault("description", text)
    return PythonTool(Tool(name, description, schema, strict=True), adapter)


def as_tools(
    offered: Iterable[Tool | Callable[..., object]],
) -> tuple[tuple[Tool, ...], list[PythonTool]]:
    """Everything that is offered as a tool, and those of them that can be run here.

    Raises:
        InvalidRequest: a function that cannot be a tool.
    """
    known = [one if isinstance(one, Tool) else python_tool(one) for one in offered]
    runnable = [one for one in known if isinstance(one, PythonTool)]
    return tuple(one if isinstance(one, Tool) else one.tool for one in known), runnable


class TypedAnswer(Generic[T]):
    """An answer that is to be a value of a Python type: a pydantic model, a dataclass, a list[int].

    Raises:
        InvalidRequest: no JSON schema describes the type.
    """

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)
        try:
            self.format = JsonSchema(_plain(self._adapter.json_schema()))
        except PydanticUserError as error:
            raise InvalidRequest(
                f"{kind!r} cannot be an answer: {error.message.splitlines()[0]}", "response_format"
            ) from None

    def value(self, response: ChatResponse) -> T:
        """The value that the answer spells.

        Raises:
            AnswerCutShort: the answer was not finished.
            pydantic.ValidationError: a check of the type's own, beyond its schema, refuses it.
        """
        if response.finish_reason == "length":
            raise AnswerCutShort(response.text, response.usage.completion_tokens)
        return self._adapter.validate_json(response.text)


def run_tools(
    chat: Callable[[ChatRequest], ChatResponse],
    request: ChatRequest,
    functions: Sequence[PythonTool],
    rounds: int,
) -> ChatResponse:
    """Ask, run what is called, tell the results and ask again, until the answer is text.

    After `rounds` rounds of calls the model may call no more and has to answer. A tool_choice
    other than auto holds for the first question only: it would never come to an answer else.

    Returns:
        The last response; `earlier` has the calls and results that led to it.

    Raises:
        InvalidRequest: a tool of the request is no function, or no round is granted.
    """
    by_name = {function.tool.name: function for function in functions}
    missing = [tool.name for tool in request.tools if tool.name not in by_name]
    if missing or not by_name:
        raise InvalidRequest(
            f"run_tools needs Python functions; {', '.join(missing) or 'tools'} is none", "tools"
        )
    if rounds < 1:
        raise InvalidRequest(f"max_rounds is {rounds}; it must be at least 1", "max_rounds")
    earlier: tuple[Message, ...] = ()
    for left in range(rounds, -1, -1):
        response = chat(request)
        if response.finish_reason != "tool_calls":
            return replace(response, earlier=earlier)
        earlier += (response.message, *_results(response.tool_calls, by_name))
        request = replace(
            request,
            messages=(*request.messages, *earlier[-1 - len(response.tool_calls) :]),
            tool_choice="auto" if left > 1 else "none",
        )
    raise AssertionError("a request that allows no calls was answered with one")


def _results(calls: Iterable[ToolCall], by_name: dict[str, PythonTool]) -> list[Message]:
    return [
        Message("tool", by_name[call.name].call(call.arguments), tool_call_id=call.id)
        for call in calls
    ]


def _unfit(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{name} cannot be a tool: {reason}", "tools")


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """What comes before `Args:`, and its entries; further sections are not for the model."""
    before, _, after = text.partition("\nArgs:\n")
    entries: dict[str, str] = {}
    indent, last = "", ""
    for line in after.splitlines():
        found = _ARGUMENT.match(line)
        if line.strip() and not line.startswith(" "):
            break
        if found and (not entries or found[1] == indent):
            indent, last = found[1], found[2]
            entries[last] = found[3].strip()
        elif last:
            entries[last] = f"{entries[last]} {line.strip()}".strip()
    return re.split(r"\n(?:Returns|Raises|Yields|Examples?|Notes?):", before)[0].strip(), entries


def _plain(schema: Any) -> Any:
    """The schema as we tell it to a model: closed, and without titles.

    Titles repeat the names and cost tokens. Properties that a class does not have would be thrown
    away after a weak model had filled pages with them; a class that allows them says so itself.
    """
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS:
            kept[key] = {name: _plain(one) for name, one in value.items()}
        elif key in _DATA:
            kept[key] = value
        elif key != "title":
            kept[key] = _plain(value)
    if "properties" in kept:
        kept.setdefault("additionalProperties", False)
    return kept
