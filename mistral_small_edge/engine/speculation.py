"""Whether to guess what a sequence says next, and how far.

A guess is checked in one batch with the token before it, and each of its tokens is kept if the sampler
draws the same one there: what a sequence says does not change, only how soon. A wider batch takes
longer, so a guess must be worth it. Every decision depends on its own sequence alone, and on
StepCosts, which are the same for all: whoever else is served, a seeded answer is computed alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import LOGITS_ROWS
from mistral_small_edge.engine.lookup import MAX_MATCH, Lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.engine.backend import DraftModel
    from mistral_small_edge.engine.calibration import StepCosts

MAX_DRAFT = LOGITS_ROWS - 1
MAX_WRITTEN = 16  # by a smaller model, which takes a step for each
WORTH = 1.0  # tokens in the time of one that a guess must promise

# The account of a sequence, in steps of one token. A guess is made only if the account can bear that
# all of it is wrong, so a sequence is never slower by more than it began with and this share.
_BEGINNING = 2.0
_SHARE = 0.02
_MOST_SAVED = 8.0  # a copy that went well must not pay for a long search in prose

# How often the next token is right behind a match of up to so many, as if seen so many times. As
# measured on edits of code, extraction and summaries; prose is worse, and soon found out.
_PRIORS = (
    (2, 0.50, 2.0),
    (3, 0.60, 2.0),
    (5, 0.75, 3.0),
    (8, 0.82, 3.0),
    (16, 0.90, 4.0),
    (MAX_MATCH + MAX_DRAFT, 0.96, 6.0),
)
_OF_GRAMMARS = (0, 0.95, 8.0)  # what a grammar forces; a model may spell it in other tokens
_WRITTEN_AHEAD = (0, 0.65, 3.0)  # by a smaller model, where it is sure
_FORCED, _WRITTEN = len(_PRIORS), len(_PRIORS) + 1
_ALL = (*_PRIORS, _OF_GRAMMARS, _WRITTEN_AHEAD)
_FORGET = 0.95  # a token ago counts for so much less


@dataclass(slots=True)
class _Trust:
    """How often a token was right behind matches of one kind of length."""

    right: float
    tried: float

    @property
    def probability(self) -> float:
        return self.right / self.tried

    def learn(self, *, right: bool) -> None:
        self.right = self.right * _FORGET + right
        self.tried = self.tried * _FORGET + 1


def _priors() -> list[_Trust]:
    return [_Trust(share * weight, weight) for _, share, weight in _ALL]


def _kind(match: int) -> int:
    return next(kind for kind, (most, _, _) in enumerate(_PRIORS) if match <= most)


@dataclass(slots=True)
class Drafter:
    """One sequence's guesses, and what became of them: `accepted` of `drafted` tokens were right.

    `model` writes guesses in `slot` where the text itself has none.
    """

    costs: StepCosts
    model: DraftModel | None = None
    slot: int = 0
    drafted: int = 0
    accepted: int = 0
    _lookup: Lookup = field(default_factory=Lookup)
    _trust: list[_Trust] = field(default_factory=_priors)
    _match: int = 0
    _source: int | None = None  # what kind of guess the last one was; None if of its match's length
    _balance: float = _BEGINNING

    def draft(
        self,
        tokens: Sequence[int],
        room: int,
        *,
        worth: float = WORTH,
        forced: tuple[int, ...] = (),
    ) -> tuple[int, ...]:
        """Tokens to check behind `tokens`; none if that would not pay.

        Args:
            room: at most this many.
            worth: tokens in the time of one that it must promise.
            forced: what a constraint leaves no choice about, but for the way it is spelled.
        """
        self._balance = min(self._balance + _SHARE, _MOST_SAVED)
        most = min(room, MAX_DRAFT)
        if most <= 0 or self.costs.of(2) - 1 > self._balance:
            return ()
        if forced:
            self._source = _FORCED
            return forced[: self._length(min(len(forced), most), worth)]
        return self._found(tokens, most, worth) or self._written(tokens, most, worth)

    def learn(self, drafted: int, accepted: int) -> None:
        """Take into account what became of a guess of `drafted` tokens."""
        for number in range(accepted):
            self._trust_in(number).learn(right=True)
        if accepted < drafted:
            self._trust_in(accepted).learn(right=False)
        self._balance += accepted + 1 - self.costs.of(drafted + 1)

    def _found(self, tokens: Sequence[int], most: int, worth: float) -> tuple[int, ...]:
        """What stood behind the same words before."""
        found = self._lookup.find(tokens, most)
        if found is None:
            return ()
        self._source, self._match = None, found.match
        return found.tokens[: self._length(len(found.tokens), worth)]

    def _written(self, tokens: Sequence[int], most: int, worth: float) -> tuple[int, ...]:
        """What the smaller model goes on with; it is paid for at once, right or wrong."""
        if self.model is None:
            return ()
        self._source = _WRITTEN
        cost = self.model.cost
        length = self._length(min(most, MAX_WRITTEN), worth, cost)
        if not length:
            return ()
        guess = self.model.write(self.slot, tokens, length)
        self._balance -= cost * min(len(guess) + 1, length)
        return guess

    def _trust_in(self, number: int) -> _Trust:
        """In a token of the guess, if all before it are right: these make the match longer."""
        kind = _kind(self._match + number) if self._source is None else self._source
        return self._trust[kind]

    def _length(self, most: int, worth: float, each: float = 0.0) -> int:
        """The length that promises most tokens in the time of one, as far as the account bears it.

        Args:
            each: what a token takes to be guessed.
        """
        best, best_rate = 0, worth
        expected = reached = 1.0
        for length in range(1, most + 1):
            reached *= self._trust_in(length - 1).probability
            expected += reached
            cost = self.costs.of(length + 1) + each * length
            if cost - 1 > self._balance:
                break
            if expected / cost > best_rate:
                best, best_rate = length, expected / cost
        return best
