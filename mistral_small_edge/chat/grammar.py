"""What an answer may be, as a grammar that the model's choice of tokens is held to.

Text out, nothing enforced here: rules in llguidance's dialect of Lark, JSON schemas and foreign
grammars as parts of their own, so that no text of a request can leave its part. Whether a part can
be enforced is known when it is compiled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.chat.json_schema import ONE_SPELLING, check_schema
from mistral_small_edge.chat.response_format import (
    Choice,
    JsonObject,
    JsonSchema,
    LarkGrammar,
    Regex,
    ResponseFormat,
)

if TYPE_CHECKING:
    from mistral_small_edge.chat.chunks import Control
    from mistral_small_edge.chat.messages import ChatRequest

ANSWER = "answer"
# One space, or a new line and its indent: weak models fill pages where white space has no bound.
_JSON_STYLE = {**ONE_SPELLING, "whitespace_pattern": r" |\n {0,32}"}
_SLASH = re.compile(r"\\.|/|\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """A grammar that rules refer to as `@name`.

    `param` and `title` name it to the caller; `content` is llguidance's JSON for it.
    """

    name: str
    param: str
    title: str
    content: Mapping[str, object]

    def source(self) -> str:
        """A grammar of this part alone."""
        return json.dumps({"grammars": [self.content]})


@dataclass(frozen=True, slots=True)
class Grammar:
    """Rules, `start` among them, the parts that they refer to, and control tokens as rules."""

    rules: tuple[str, ...]
    parts: tuple[Part, ...]
    controls: Mapping[str, Control]

    def source(self, control_ids: Mapping[str, int]) -> str:
        """The whole in llguidance's JSON form; `control_ids` are the vocabulary's, by name."""
        controls = (
            f"{rule}: <[{control_ids[control.name]}]>" for rule, control in self.controls.items()
        )
        lark = "\n".join((*self.rules, *controls))
        parts = [{"name": part.name, **part.content} for part in self.parts]
        return json.dumps({"grammars": [{"lark_grammar": lark}, *parts]})


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """How an answer is held to its shape.

    Attributes:
        grammar: what it must derive; None leaves its shape free.
        opened_by: the control token from which on the grammar holds; None: from the start.
        forbidden: control tokens that it never holds.
        prose_until: the control token that ends the part that stop strings are looked for in.
    """

    grammar: Grammar | None = None
    opened_by: Control | None = None
    forbidden: tuple[Control, ...] = ()
    prose_until: Control | None = None


def answer_rules(request: ChatRequest) -> AnswerRules | None:
    """For a model that answers in text alone; None if the text is free."""
    if request.response_format is None:
        return None
    part = answer_part(request.response_format)
    return AnswerRules(Grammar((f"start: @{ANSWER}",), (part,), {}))


def answer_part(wanted: ResponseFormat) -> Part:
    """The part that a text answer must derive.

    Raises:
        InvalidGrammar: a schema that says what cannot be enforced.
    """
    return Part(ANSWER, "response_format", "response_format", _content(wanted))


def _content(wanted: ResponseFormat) -> dict[str, object]:
    match wanted:
        case JsonObject():
            return {"json_schema": {"type": "object", "x-guidance": _JSON_STYLE}}
        case JsonSchema(schema):
            check_schema(schema, "response_format")
            keywords = schema if isinstance(schema, Mapping) else {}
            return {"json_schema": schema and {**keywords, "x-guidance": _JSON_STYLE}}
        case Choice(options):
            # One terminal: as alternatives of a rule a long list would be too many for the parser.
            return _lark("start: CHOICE", f"CHOICE: {' | '.join(map(_quoted, options))}")
        case Regex(pattern):
            return _lark(f"start: /{_SLASH.sub(_escaped, pattern)}/")
        case LarkGrammar(source):
            return _lark(source)


def _lark(*lines: str) -> dict[str, object]:
    return {"lark_grammar": "\n".join(lines)}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(found: re.Match[str]) -> str:
    return {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}.get(found[0], found[0])
