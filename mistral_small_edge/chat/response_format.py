"""What shape an answer must have: one frozen value for each kind of `response_format`.

None of them says how it is enforced; `grammar.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that the schema admits. Enforced to the letter, or refused: never loosened."""

    schema: Mapping[str, object] | bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these strings, bare."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that the whole of the pattern matches (Rust's syntax)."""

    pattern: str


@dataclass(frozen=True, slots=True)
class LarkGrammar:
    """Text that a context-free grammar derives (llguidance's dialect of Lark)."""

    source: str


ResponseFormat = JsonObject | JsonSchema | Choice | Regex | LarkGrammar
