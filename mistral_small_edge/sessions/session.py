"""What a session is, and how one becomes the next: by a few kinds of events.

Pure. `changes` says what happened between two sessions and `applied` makes it happen again, so that
whoever holds a conversation saves it by showing what it is now. No event undoes more than it says:
an answer that is asked for anew replaces the old one in the event that brings it, not before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from mistral_small_edge.chat.conversation import Conversation, Exchange, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mistral_small_edge.images import Image
    from mistral_small_edge.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation and what it is held with; an empty `model` and no `sampling` are unknown ones.

    `unanswered` has been asked and, as far as is known, not been answered.
    """

    model: str = ""
    sampling: SamplingParams | None = None
    conversation: Conversation = field(default_factory=Conversation)
    unanswered: Question | None = None

    def with_system(self, text: str) -> Self:
        """The same with another system prompt; empty is none."""
        return replace(self, conversation=replace(self.conversation, system=text))

    @property
    def title(self) -> str:
        """What it begins with, on one line; empty if nothing was asked."""
        asked = [exchange.question for exchange in self.conversation.exchanges[:1]]
        first = next(iter(asked), self.unanswered)
        return " ".join(first.text.split()) if first else ""


@dataclass(frozen=True, slots=True)
class ModelChosen:
    """From here on it is held with this model."""

    name: str


@dataclass(frozen=True, slots=True)
class SamplingSet:
    """How tokens are chosen from here on."""

    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class SystemSet:
    """The system prompt from here on; empty takes it away."""

    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, with the digests of its pictures; it is unanswered until something else comes."""

    text: str
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, to the exchange of that index or, behind the last one, to what was asked.

    What there was from that index on is gone.
    """

    index: int
    text: str
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The question without an answer is taken back."""


@dataclass(frozen=True, slots=True)
class Shortened:
    """So many exchanges stay."""

    length: int


Event = ModelChosen | SamplingSet | SystemSet | Asked | Answered | Withdrawn | Shortened


def changes(before: Session, after: Session) -> Iterator[Event]:
    """What makes `after` of `before`, in as few events as there are."""
    if after.model != before.model:
        yield ModelChosen(after.model)
    if after.sampling is not None and after.sampling != before.sampling:
        yield SamplingSet(after.sampling)
    if after.conversation.system != before.conversation.system:
        yield SystemSet(after.conversation.system)
    old, new = before.conversation.exchanges, after.conversation.exchanges
    same = _common(old, new)
    unanswered = before.unanswered
    if same == len(new) < len(old):
        yield Shortened(same)
    for index, exchange in enumerate(new[same:], same):
        if index < len(old) and old[index].question != exchange.question:
            yield Shortened(index)
            old = old[:index]
        known = old[index].question if index < len(old) else unanswered
        if exchange.question != known:
            yield _asked(exchange.question)
        yield Answered(index, exchange.answer, exchange.tokens)
        old, unanswered = old[:index], None
    if after.unanswered != unanswered:
        yield Withdrawn() if after.unanswered is None else _asked(after.unanswered)


def applied(session: Session, event: Event, show: Callable[[str], Image] | None) -> Session:
    """The session after `event`.

    Args:
        show: the picture of a digest; None leaves pictures out.

    Raises:
        ValueError: it cannot have happened to this session.
    """
    talk = session.conversation
    match event:
        case ModelChosen(name):
            return replace(session, model=name)
        case SamplingSet(sampling):
            return replace(session, sampling=sampling)
        case SystemSet(text):
            return replace(session, conversation=replace(talk, system=text))
        case Asked(text, pictures):
            images = tuple(map(show, pictures)) if show else ()
            return replace(session, unanswered=Question(text, images))
        case Withdrawn():
            return replace(session, unanswered=None)
        case Shortened(length):
            return replace(session, conversation=_cut(talk, length))
        case Answered(index, text, tokens):
            exchange = Exchange(_question(session, index), text, tokens)
            answered = _cut(talk, index).extended(exchange)
            return replace(session, conversation=answered, unanswered=None)


def _common(one: tuple[Exchange, ...], other: tuple[Exchange, ...]) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _asked(question: Question) -> Asked:
    return Asked(question.text, tuple(image.digest for image in question.images))


def _question(session: Session, index: int) -> Question:
    exchanges = session.conversation.exchanges
    question = exchanges[index].question if index < len(exchanges) else session.unanswered
    if question is None:
        raise ValueError("it answers what was not asked")
    return question


def _cut(talk: Conversation, length: int) -> Conversation:
    if length > len(talk.exchanges):
        raise ValueError(f"it tells of exchange {length}, and there are {len(talk.exchanges)}")
    return replace(talk, exchanges=talk.exchanges[:length])
