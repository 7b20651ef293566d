"""A conversation as it is kept: a system prompt and whole exchanges.

Pure values. Because a question enters only together with its answer, the roles always alternate,
and a question that failed leaves no trace to be cleaned up. Knows no commands, no model, no file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from mistral_small_edge.chat.messages import ImagePart, Message, TextPart

if TYPE_CHECKING:
    from mistral_small_edge.images import Image


@dataclass(frozen=True, slots=True)
class Question:
    """What a person says, and the pictures shown with it."""

    text: str
    images: tuple[Image, ...] = ()

    @property
    def message(self) -> Message:
        """As the model is sent it: pictures first, as it was trained to see one."""
        if not self.images:
            return Message("user", self.text)
        return Message("user", (*map(ImagePart, self.images), TextPart(self.text)))


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked and what was answered, or as much of it as was written before a stop.

    `tokens` is the context that the exchange and everything before it take; None if the answer
    was stopped, because the count comes with the end.
    """

    question: Question
    answer: str
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """`system` empty means that there is no system prompt."""

    system: str = ""
    exchanges: tuple[Exchange, ...] = ()

    @property
    def said(self) -> tuple[Message, ...]:
        """All of it as a model is sent it."""
        said = [Message("system", self.system)] if self.system else []
        for exchange in self.exchanges:
            said.append(exchange.question.message)
            said.append(Message("assistant", exchange.answer))
        return tuple(said)

    def messages(self, question: Question) -> tuple[Message, ...]:
        """What a model is sent to have `question` answered."""
        return (*self.said, question.message)

    def extended(self, exchange: Exchange) -> Self:
        """With one more exchange at its end."""
        return replace(self, exchanges=(*self.exchanges, exchange))

    def shortened(self) -> Self:
        """Without its last exchange; the same if there is none."""
        return replace(self, exchanges=self.exchanges[:-1])

    def cleared(self) -> Self:
        """Without its exchanges; the system prompt stays."""
        return replace(self, exchanges=())

    @property
    def last(self) -> Exchange | None:
        """The exchange that /retry and /undo are about."""
        return self.exchanges[-1] if self.exchanges else None

    @property
    def tokens(self) -> int | None:
        """Context taken as of the last answer; None if nobody counted it."""
        return self.last.tokens if self.last else 0
