"""How likely a guess is right, from what became of the guesses before it.

Two things speak for a token that stood behind the same words before: how many words were the same,
and how often guesses were right behind the very token that it follows. In a list of records the next
key is nearly sure behind the end of a value, and the next value is not behind the end of a key, however
long the match is that leads there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from mistral_small_edge.engine.backend import LOGITS_ROWS
from mistral_small_edge.engine.lookup import MAX_MATCH

MAX_DRAFT = LOGITS_ROWS - 1

# How often the next token is right behind a match of up to so many, as if seen so many times. As
# measured on edits of code, extraction and summaries; prose is worse, and soon found out.
_PRIORS = (
    (1, 0.20, 2.0),
    (2, 0.50, 2.0),
    (3, 0.60, 2.0),
    (5, 0.75, 3.0),
    (8, 0.82, 3.0),
    (16, 0.90, 4.0),
    (MAX_MATCH + MAX_DRAFT, 0.96, 6.0),
)
_FORCED = (0.95, 8.0)  # what a grammar forces; a model may spell it in other tokens
_WRITTEN = (0.65, 3.0)  # by a smaller model, where it is sure
_FORGET = 0.95  # a token ago counts for so much less
_FORGET_BEHIND = 0.9  # the same, of those behind one token
_SEEN_AT_ALL = 3.0  # times that a match's length counts as seen beside those


class Source(Enum):
    """Where a guess comes from."""

    MATCH = auto()
    GRAMMAR = auto()
    MODEL = auto()


@dataclass(frozen=True, slots=True)
class Guess:
    """Tokens that may come next.

    Attributes:
        tokens: none of them known yet where a smaller model is still to write them.
        last: the token that they follow.
        match: so many tokens before them stood before what they are taken from.
        place: where in the text that is.
    """

    tokens: tuple[int, ...]
    last: int
    source: Source
    match: int = 0
    place: int = 0

    def before(self, number: int) -> int:
        """The token that the guess's token `number` follows."""
        return self.tokens[number - 1] if number else self.last


@dataclass(slots=True)
class _Record:
    """How often something was right."""

    right: float = 0.0
    tried: float = 0.0

    def learn(self, *, right: bool, forget: float) -> None:
        self.right = self.right * forget + right
        self.tried = self.tried * forget + 1


def _prior(share: float, weight: float) -> _Record:
    return _Record(share * weight, weight)


def _by_match() -> list[_Record]:
    return [_prior(share, weight) for _, share, weight in _PRIORS]


@dataclass(slots=True)
class Trust:
    """What one sequence's guesses have come to."""

    _by_match: list[_Record] = field(default_factory=_by_match)
    _behind: dict[int, _Record] = field(default_factory=dict)
    _forced: _Record = field(default_factory=lambda: _prior(*_FORCED))
    _written: _Record = field(default_factory=lambda: _prior(*_WRITTEN))

    def probability(self, guess: Guess, number: int) -> float:
        """Of the guess's token `number` to be right, if all before it are."""
        record = self._record(guess, number)
        share = record.right / record.tried
        behind = self._behind.get(guess.before(number)) if guess.source is Source.MATCH else None
        if behind is None:
            return share
        return (share * _SEEN_AT_ALL + behind.right) / (_SEEN_AT_ALL + behind.tried)

    def learn(self, guess: Guess, number: int, *, right: bool) -> None:
        """Take into account what became of the guess's token `number`, all before it being right."""
        self._record(guess, number).learn(right=right, forget=_FORGET)
        if guess.source is Source.MATCH:
            behind = self._behind.setdefault(guess.before(number), _Record())
            behind.learn(right=right, forget=_FORGET_BEHIND)

    def _record(self, guess: Guess, number: int) -> _Record:
        match guess.source:
            case Source.GRAMMAR:
                return self._forced
            case Source.MODEL:
                return self._written
            case Source.MATCH:  # with each token that is right the match is longer
                return self._by_match[_kind(guess.match + number)]


def _kind(match: int) -> int:
    return next(kind for kind, (most, _, _) in enumerate(_PRIORS) if match <= most)
