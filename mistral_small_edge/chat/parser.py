"""An answer as the model writes it -> what it says and what it calls.

Fed `Text` and `Control` chunks as they come, it gives deltas at once: text, a call's name when it
is whole, arguments in the pieces they come in. It decides by control tokens, never by text that
looks like one. What is not a call after all is given as the text it was; nothing is raised.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from mistral_small_edge.chat.chunks import Control, Text
from mistral_small_edge.chat.deltas import TextDelta, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

CALL = Control("[TOOL_CALLS]")
CALL_ID = Control("[CALL_ID]")
ARGUMENTS = Control("[ARGS]")
_ID = re.compile(r"[a-zA-Z0-9]{9}")

AnswerDelta = TextDelta | ToolCallDelta


class Parser(Protocol):
    """What turns an answer's chunks into deltas; one for each answer."""

    @property
    def num_calls(self) -> int:
        """Calls begun so far."""

    def feed(self, chunk: Text | Control) -> tuple[AnswerDelta, ...]:
        """The deltas that the chunk makes certain."""

    def finish(self) -> tuple[AnswerDelta, ...]:
        """What was held back, when no more comes."""


class PlainParser:
    """For models whose calls we do not know: text is text, a control token says nothing."""

    num_calls = 0

    def feed(self, chunk: Text | Control) -> tuple[AnswerDelta, ...]:
        """The text, if it is one."""
        return (TextDelta(chunk.text),) if isinstance(chunk, Text) else ()

    def finish(self) -> tuple[AnswerDelta, ...]:
        """Nothing is ever held back."""
        return ()


class OutputParser:
    """Mistral's v11: `text [TOOL_CALLS] name [CALL_ID] id [ARGS] json`, the last three repeated.

    Args:
        names: the tools there are; a call of any other is text.
        call_id: the id that the caller knows a call by, from its number in this answer and the
            id that the model wrote, if it wrote one that can be used.
    """

    def __init__(self, names: Collection[str], call_id: Callable[[int, str | None], str]) -> None:
        self._names = names
        self._call_id = call_id
        # A call's head, until [ARGS] shows that it is one. None: not in a head; no id begun.
        self._name: str | None = None
        self._id: str | None = None
        self._in_arguments = False
        self.num_calls = 0

    def feed(self, chunk: Text | Control) -> tuple[AnswerDelta, ...]:
        """The deltas that the chunk makes certain."""
        if isinstance(chunk, Text):
            return self._read(chunk.text)
        if chunk == CALL:
            given_up = self.finish()
            self._name = ""
            return given_up
        if chunk == CALL_ID and self._name is not None and self._id is None:
            self._id = ""
            return ()
        name = self._name
        if chunk == ARGUMENTS and name is not None and name in self._names:
            return self._begin(name)
        return (*self.finish(), TextDelta(chunk.name))

    def finish(self) -> tuple[AnswerDelta, ...]:
        """What was held back: a head that never became a call, as text."""
        head = self._spelt_head()
        self._name = self._id = None
        self._in_arguments = False
        return (TextDelta(head),) if head else ()

    def _read(self, text: str) -> tuple[AnswerDelta, ...]:
        if self._in_arguments:
            return (ToolCallDelta(self.num_calls - 1, arguments=text),)
        if self._id is not None:
            self._id += text
        elif self._name is not None:
            self._name += text
        else:
            return (TextDelta(text),)
        return ()

    def _begin(self, name: str) -> tuple[AnswerDelta, ...]:
        written = self._id if self._id is not None and _ID.fullmatch(self._id) else None
        begun = ToolCallDelta(self.num_calls, self._call_id(self.num_calls, written), name)
        self.num_calls += 1
        self._name = self._id = None
        self._in_arguments = True
        return (begun,)

    def _spelt_head(self) -> str:
        if self._name is None:
            return ""
        return CALL.name + self._name + ("" if self._id is None else CALL_ID.name + self._id)
