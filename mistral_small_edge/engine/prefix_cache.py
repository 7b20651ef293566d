"""Which slot holds which prefix.

Protocol: `allocate` hands out a free slot and says how many leading rows of it can stay; the
holder computes the rest and gives the slot back with `release`, naming the tokens whose rows are
valid then. Between the two the slot is busy and its rows are nobody else's business. Pure ints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_STRIDE = 256  # tokens compared at once


@dataclass(frozen=True, slots=True)
class Allocation:
    """A slot, and how many of its leading rows are the prompt's own.

    `num_exact` of them came from prefill alone.
    """

    slot: int
    num_cached: int
    num_exact: int


@dataclass(slots=True)
class _Slot:
    tokens: list[int] = field(default_factory=list)
    num_exact: int = 0
    busy: bool = False
    released: int = 0  # when, on the cache's own clock


class PrefixCache:
    """`max_sequences` slots and what their rows hold."""

    def __init__(self, max_sequences: int) -> None:
        self._slots = [_Slot() for _ in range(max_sequences)]
        self._clock = 0

    @property
    def num_free(self) -> int:
        """Slots that `allocate` can hand out."""
        return sum(not slot.busy for slot in self._slots)

    def allocate(self, prompt: Sequence[int], *, limit: int, exact: bool) -> Allocation | None:
        """The free slot that is cheapest to take, or None if all are busy.

        Cheapest: fewest tokens to compute, plus a quarter for each one lost that another prompt
        might have reused (most never are); the longest unused slot on a tie.

        Args:
            limit: at most this many rows may be reused.
            exact: reuse only rows that a prefill computed.
        """
        best: tuple[int, int, Allocation] | None = None
        for index, slot in enumerate(self._slots):
            if slot.busy:
                continue
            common = common_prefix(slot.tokens, prompt)
            usable = min(common, limit, slot.num_exact if exact else common)
            cost = 4 * (len(prompt) - usable) + len(slot.tokens) - common
            found = Allocation(index, usable, min(usable, slot.num_exact))
            if best is None or (cost, slot.released) < best[:2]:
                best = (cost, slot.released, found)
        if best is None:
            return None
        taken = self._slots[best[2].slot]
        taken.busy = True
        # What the holder is about to overwrite must not be matched if it never gives news.
        taken.tokens = taken.tokens[: best[2].num_cached]
        taken.num_exact = best[2].num_exact
        return best[2]

    def release(self, slot: int, tokens: Sequence[int], num_exact: int) -> None:
        """Give a slot back; its rows hold `tokens`, the first `num_exact` from prefill alone."""
        held = self._slots[slot]
        if not held.busy:
            raise ValueError(f"slot {slot} was not allocated")
        self._clock += 1
        held.tokens = list(tokens)
        held.num_exact = min(num_exact, len(held.tokens))
        held.released = self._clock
        held.busy = False

    def check_integrity(self) -> None:
        """Raise AssertionError if the books do not balance; the tests call it at every step."""
        for index, slot in enumerate(self._slots):
            if not 0 <= slot.num_exact <= len(slot.tokens):
                raise AssertionError(f"slot {index}: {slot.num_exact} of {len(slot.tokens)} exact")
            if slot.released > self._clock:
                raise AssertionError(f"slot {index} was released in the future")


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens are the same."""
    length = min(len(a), len(b))
    at = 0
    # Whole stretches compare at C speed; only the one that differs is walked.
    while at < length and list(a[at : at + _STRIDE]) == list(b[at : at + _STRIDE]):
        at += _STRIDE
    while at < length and a[at] == b[at]:
        at += 1
    return min(at, length)
