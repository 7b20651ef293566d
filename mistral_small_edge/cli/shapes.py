"""`--schema`, `--choice`, `--tools`, `--tool-choice`: read, checked, and turned into chat's values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.cli import stdin
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.chat.messages import ChatRequest
    from mistral_small_edge.chat.response_format import ResponseFormat
    from mistral_small_edge.chat.tools import Tool, ToolChoice

FROM_STDIN = "-"
_SCHEMA, _CHOICE, _TOOLS, _TOOL_CHOICE = "--schema", "--choice", "--tools", "--tool-choice"


def refuse_shared_stdin(*sources: str | None) -> None:
    """stdin can be read once.

    Raises:
        InvalidRequest: more than one is to come from there.
    """
    if sources.count(FROM_STDIN) > 1:
        raise InvalidRequest(
            f"stdin can be one of PROMPT, --image, {_SCHEMA} and {_TOOLS}, not more", _SCHEMA
        )


def response_format(schema: str | None, choice: str | None) -> ResponseFormat | None:
    """The shape that the two options ask for.

    Raises:
        InvalidRequest: both were given, or one cannot be read.
    """
    from mistral_small_edge.chat.response_format import Choice, JsonSchema

    if schema is not None and choice is not None:
        raise InvalidRequest(f"{_SCHEMA} and {_CHOICE} are two shapes: give one", _CHOICE)
    if choice is not None:
        options = tuple(option.strip() for option in choice.split(","))
        if not all(options):
            raise InvalidRequest(
                f"{_CHOICE} has an empty answer in it: write yes,no,unknown", _CHOICE
            )
        return Choice(options)
    if schema is None:
        return None
    value = _read_json(schema, _SCHEMA)
    if not isinstance(value, dict | bool):
        raise InvalidRequest(f"{_SCHEMA}: a JSON schema is an object, or true", _SCHEMA)
    return JsonSchema(value)


def tools(path: str | None, choice: str | None) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    """The tools of a file, and which of them to call: auto, none, required or a name.

    Raises:
        InvalidRequest: the file is not a list of tools, or has none of that name.
    """
    from mistral_small_edge.chat.tools import NamedTool, tools_from_json

    offered = () if path is None else tools_from_json(_read_json(path, _TOOLS))
    if choice is None:
        return offered, None
    if path is None:
        raise InvalidRequest(f"{_TOOL_CHOICE} needs {_TOOLS}", _TOOL_CHOICE)
    match choice:
        case "auto" | "none" | "required":
            return offered, choice
    return offered, NamedTool(choice)


def check(request: ChatRequest) -> None:
    """Refuse a shape or a tool that no model could be held to, before one is loaded.

    Raises:
        InvalidGrammar: it names the part and the keyword.
    """
    if request.response_format is not None or request.tools:
        from mistral_small_edge.llm.constraints import check_shapes

        check_shapes(request)


def _read_json(source: str, option: str) -> object:
    """The JSON of a file, or of stdin."""
    if source == FROM_STDIN:
        text = stdin.read_text()
    else:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InvalidRequest(f"{option}: {source} cannot be read: {reason}", option) from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{option}: {source} is not JSON: {error}", option) from None
