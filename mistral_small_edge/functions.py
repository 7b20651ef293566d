"""Python functions as tools, and the loop that runs them until the model has its answer.

A function's signature and docstring become the tool; pydantic reads the one and checks the
arguments that come back. What a function raises is the caller's to see, and is not told to the
model: a function that wants to say "no such city" returns it.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_json

from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.chat.tools import Tool
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mistral_small_edge.chat.deltas import ChatResponse
    from mistral_small_edge.chat.tools import ToolCall

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
        schema = _untitled(adapter.json_schema())
    except PydanticUserError as error:
        raise _unfit(name, error.message.splitlines()[0]) from None
    description, arguments = _docstring(inspect.getdoc(function) or "")
    for argument, text in arguments.items():
        if argument in schema["properties"]:
            schema["properties"][argument].setdefault("description", text)
    return PythonTool(Tool(name, description, schema, strict=True), adapter)


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
    """
    by_name = {function.tool.name: function for function in functions}
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


def _untitled(schema: Any) -> Any:
    """The schema without pydantic's titles, which repeat the names and cost tokens."""
    if isinstance(schema, list):
        return [_untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS:
            kept[key] = {name: _untitled(one) for name, one in value.items()}
        elif key in _DATA:
            kept[key] = value
        elif key != "title":
            kept[key] = _untitled(value)
    return kept
