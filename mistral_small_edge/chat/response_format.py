"""What shape an answer must have: one frozen value for each kind of `response_format`.

None of them says how it is enforced; `grammar.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.chat.tools import check_json
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


PARAM = "response_format"


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that the schema admits. Enforced to the letter, or refused: never loosened."""

    schema: Mapping[str, object] | bool

    def __post_init__(self) -> None:
        check_json(self.schema, PARAM)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these strings, bare."""

    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.options or not all(self.options):
            raise InvalidRequest("enum needs at least one string, and none of them empty", PARAM)
        check_json(self.options, PARAM)


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that the whole of the pattern matches (Rust's syntax)."""

    pattern: str

    def __post_init__(self) -> None:
        check_json(self.pattern, PARAM)


@dataclass(frozen=True, slots=True)
class LarkGrammar:
    """Text that a context-free grammar derives (llguidance's dialect of Lark)."""

    source: str

    def __post_init__(self) -> None:
        check_json(self.source, PARAM)


ResponseFormat = JsonObject | JsonSchema | Choice | Regex | LarkGrammar
