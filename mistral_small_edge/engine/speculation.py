"""Whether to guess what a sequence says next, and how far.

A guess is checked in one batch with the token before it, and each of its tokens is kept if the sampler
draws the same one there: what a sequence says does not change, only how soon. A wider batch takes
longer, so a guess must be worth it. Every decision depends on its own sequence alone, and on
StepCosts, which are the same for all: whoever else is served, a seeded answer is computed alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mistral_small_edge.engine.lookup import Lookup
from mistral_small_edge.engine.trust import MAX_DRAFT, Guess, Source, Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.engine.backend import DraftModel
    from mistral_small_edge.engine.calibration import StepCosts

MAX_WRITTEN = 16  # by a smaller model, which takes a step for each
# Tokens in the time of one that a guess must promise. One that promises little more than it takes gains
# nothing to speak of for an answer alone, and beside others it costs a pass that they do not share.
WORTH = 1.2

# The account of a sequence, in steps of one token. A guess is made only if the account can bear that
# all of it is wrong, so a sequence is never slower by more than it began with and this share.
_BEGINNING = 2.0
_SHARE = 0.02
_MOST_SAVED = 8.0  # a copy that went well must not pay for a long search in prose


@dataclass(frozen=True, slots=True)
class _Offer:
    """A guess, how much of it is worth a check, and the tokens that this promises in the time of one."""

    guess: Guess
    length: int
    rate: float


@dataclass(slots=True)
class Drafter:
    """One sequence's guesses, and what became of them: `accepted` of `drafted` tokens were right.

    `model` writes guesses in `slot` where the text itself has no better ones.
    """

    costs: StepCosts
    model: DraftModel | None = None
    slot: int = 0
    drafted: int = 0
    accepted: int = 0
    _lookup: Lookup = field(default_factory=Lookup)
    _trust: Trust = field(default_factory=Trust)
    _offer: _Offer | None = None  # the last one, made behind so many tokens
    _behind: int = 0
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
        self._compare(tokens)
        self._balance = min(self._balance + _SHARE, _MOST_SAVED)
        most = min(room, MAX_DRAFT)
        if most <= 0 or self.costs.check(2) - 1 > self._balance:
            return ()
        self._offer, self._behind = self._best(tokens, most, worth, forced), len(tokens)
        if self._offer is None:
            return ()
        if self._offer.guess.source is Source.MODEL:
            return self._written(tokens, self._offer.length)
        return self._offer.guess.tokens[: self._offer.length]

    def learn(self, drafted: int, accepted: int) -> None:
        """Take into account what became of a guess of `drafted` tokens."""
        assert self._offer is not None  # noqa: S101 - it is what was drafted
        guess, self._offer = self._offer.guess, None
        for number in range(accepted):
            self._trust.learn(guess, number, right=True)
        if accepted < drafted:
            self._trust.learn(guess, accepted, right=False)
        if accepted:
            self._confirm(guess)
        self._balance += accepted + 1 - self.costs.check(drafted + 1)

    def _compare(self, tokens: Sequence[int]) -> None:
        """Learn also from a guess that was not worth a check: the next token was drawn all the same."""
        offer, self._offer = self._offer, None
        if offer is None or offer.length or len(tokens) != self._behind + 1:
            return
        right = tokens[-1] == offer.guess.tokens[0]
        self._trust.learn(offer.guess, 0, right=right)
        if right:
            self._confirm(offer.guess)

    def _confirm(self, guess: Guess) -> None:
        if guess.source is Source.MATCH:
            self._lookup.confirm(guess.place, self._behind)

    def _best(
        self, tokens: Sequence[int], most: int, worth: float, forced: tuple[int, ...]
    ) -> _Offer | None:
        if forced:
            return self._worked_out(Guess(forced, tokens[-1], Source.GRAMMAR), most, worth)
        found = self._lookup.find(tokens, most)
        offer = None
        if found is not None:
            guess = Guess(found.tokens, tokens[-1], Source.MATCH, found.match, found.place)
            offer = self._worked_out(guess, most, worth)
        if self.model is not None:
            unwritten = Guess((), tokens[-1], Source.MODEL)
            most = min(most, MAX_WRITTEN)
            least = worth if offer is None else offer.rate
            written = self._worked_out(unwritten, most, least, self.model.cost)
            if written.length:
                return written
        return offer

    def _written(self, tokens: Sequence[int], length: int) -> tuple[int, ...]:
        """What the smaller model goes on with; it is paid for at once, right or wrong."""
        assert self.model is not None  # noqa: S101 - who else made the offer
        guess = self.model.write(self.slot, tokens, length)
        self._balance -= self.model.cost * min(len(guess) + 1, length)
        return guess

    def _worked_out(self, guess: Guess, most: int, worth: float, each: float = 0.0) -> _Offer:
        """How much of the guess promises most tokens in the time of one, as far as the account bears it.

        Args:
            most: tokens that may be checked.
            worth: what it must promise more than.
            each: what a token takes to be guessed.
        """
        most = min(most, len(guess.tokens) or most)
        best = _Offer(guess, 0, worth)
        expected = reached = 1.0
        for length in range(1, most + 1):
            cost = self.costs.check(length + 1) + each * length
            # Not even if all that is left were sure.
            if (
                cost - 1 > self._balance
                or expected + reached * (most + 1 - length) <= cost * best.rate
            ):
                break
            reached *= self._trust.probability(guess, length - 1)
            expected += reached
            if expected / cost > best.rate:
                best = _Offer(guess, length, expected / cost)
        return best
