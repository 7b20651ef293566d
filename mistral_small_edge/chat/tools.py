"""What the model may call, and what it called.

A tool is offered with a JSON schema of its arguments; a call carries them as JSON text, as the
model wrote them. Whether they fit the schema is the grammar's business.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what the model was trained on, and OpenAI's rule
_FIELDS = {"name": str, "description": str, "parameters": dict, "strict": bool}
_KINDS = {str: "text", dict: "an object", bool: "true or false"}
_NO_ARGUMENTS: Mapping[str, object] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the caller would run.

    `parameters` is a JSON schema of an object. `strict` refuses a schema that cannot be enforced
    to the letter; without it the same schema is enforced as far as it can be.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, object] = field(default_factory=lambda: _NO_ARGUMENTS)
    strict: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidRequest(
                f"a tool is named {self.name!r}; a name is 1 to 64 letters, digits, _ or -",
                "tools.function.name",
            )
        check_json(self.description, "tools.function.description")
        check_json(self.parameters, "tools.function.parameters")
        if self.parameters.get("type", "object") != "object":
            raise InvalidRequest(
                f"the parameters of {self.name} are of type {self.parameters['type']!r}; "
                "they must be an object",
                "tools.function.parameters",
            )


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call; `id` is whatever the caller uses, `arguments` is JSON text."""

    id: str
    name: str
    arguments: str

    def __post_init__(self) -> None:
        for value in (self.id, self.name, self.arguments):
            check_json(value, "messages.tool_calls")


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The choice of one tool that must be called."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


def tools_from_json(value: object) -> tuple[Tool, ...]:
    """Tools as OpenAI spells them: a list of `{"type": "function", "function": {"name": …}}`.

    Raises:
        InvalidRequest: it is something else; the text says at which tool.
    """
    if not isinstance(value, list):
        raise InvalidRequest("tools is no list", "tools")
    return tuple(_tool(index, one) for index, one in enumerate(value))


def _tool(index: int, value: object) -> Tool:
    if not isinstance(value, dict) or value.get("type") != "function":
        raise InvalidRequest(f'tool {index} is not {{"type": "function", …}}', "tools")
    function = value.get("function")
    if not isinstance(function, dict):
        raise InvalidRequest(f'tool {index} has no object "function"', "tools.function")
    unknown = [*(value.keys() - {"type", "function"}), *(function.keys() - _FIELDS.keys())]
    if unknown:
        raise InvalidRequest(f"tool {index} has an unknown field {unknown[0]!r}", "tools.function")
    given = {name: one for name, one in function.items() if one is not None}
    for name, one in given.items():
        if not isinstance(one, _FIELDS[name]):
            raise InvalidRequest(
                f"tool {index}: {name} must be {_KINDS[_FIELDS[name]]}", f"tools.function.{name}"
            )
    return Tool(**{"name": "", **given})


def check_json(value: object, param: str) -> None:
    """Refuse what JSON cannot carry: other types, NaN, half a surrogate pair, endless nesting.

    Raises:
        InvalidRequest: it names `param`.
    """
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # lone surrogates too
        raise InvalidRequest(f"{param} is not JSON: {error}", param) from None
