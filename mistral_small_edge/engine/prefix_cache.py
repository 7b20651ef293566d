"""Which slot holds which prefix.

Protocol: `allocate` hands out a free slot and says how many leading rows of it can stay; the
holder computes the rest, tells of it with `advance`, and gives the slot back with `release`, naming
the tokens whose rows are valid then. What any slot holds, busy or not, may be copied into another:
`donor` says which one is worth it. What a free one holds may be computed again from some row on: `written`
says which one and where, and `advance` how far that has come. Pure ints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_small_edge.engine.reuse import Reuse

_STRIDE = 256  # tokens compared at once
# A lane is copied whole. Computing a row takes a hundred times as long as copying one, on every
# machine we know; most often a thousand.
_COPIED_ROWS_A_TOKEN = 100


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
    """Rows `:length` hold `tokens[:length]`; of a busy slot the list is its holder's, and grows.

    Of a free slot there are more tokens than rows while these are read again.
    """

    tokens: Sequence[int] = field(default_factory=list)
    length: int = 0
    num_exact: int = 0
    busy: bool = False
    released: int = 0  # when, on the cache's own clock
    goes_on: bool = False  # whether its holder must repeat, and went on from all that it held
    before: tuple[Sequence[int], int] = ((), 0)  # what it held when it was taken, and how exact

    @property
    def num_written(self) -> int:
        """Rows of text at the end that no prefill computed, or that are to be computed again."""
        rest = self.tokens[self.num_exact :]
        return len(rest) if min(rest, default=0) >= 0 else 0

    def common(self, prompt: Sequence[int]) -> int:
        return min(common_prefix(self.tokens, prompt), self.length)


class PrefixCache:
    """`max_sequences` slots of `lane` rows, and what these hold."""

    def __init__(self, max_sequences: int, lane: int) -> None:
        self._slots = [_Slot() for _ in range(max_sequences)]
        self._lane = lane
        self._clock = 0

    @property
    def num_slots(self) -> int:
        """All of them."""
        return len(self._slots)

    @property
    def num_free(self) -> int:
        """Slots that `allocate` can hand out."""
        return sum(not slot.busy for slot in self._slots)

    def allocate(self, prompt: Sequence[int], reuse: Reuse) -> Allocation | None:
        """The free slot that is cheapest to take, or None if all are busy.

        Cheapest: fewest tokens to compute, plus a quarter for each one lost that another prompt
        might have reused (most never are); the longest unused slot on a tie. What can be copied
        from elsewhere need not be computed, wherever it goes.

        Args:
            prompt: kept until the slot is released; it may grow.
        """
        commons = [slot.common(prompt) for slot in self._slots]
        usable = [
            reuse.of(common, slot.num_exact)
            for slot, common in zip(self._slots, commons, strict=True)
        ]
        best: tuple[int, int, int] | None = None
        for index, slot in enumerate(self._slots):
            if slot.busy:
                continue
            price = self._price(len(prompt), usable, index)
            cost = price + slot.length - commons[index]
            if best is None or (cost, slot.released) < best[:2]:
                best = cost, slot.released, index
        if best is None:
            return None
        index = best[2]
        taken = self._slots[index]
        taken.busy = True
        taken.goes_on = reuse.exact and commons[index] == taken.length > 0
        taken.before = taken.tokens[: taken.length], taken.num_exact
        # What the holder is about to overwrite must not be matched if it never gives news.
        taken.tokens, taken.length = prompt, usable[index]
        taken.num_exact = min(taken.num_exact, taken.length)
        return Allocation(index, taken.length, taken.num_exact)

    def displaced(self, slot: int, least: int) -> tuple[Sequence[int], int] | None:
        """What a slot held when it was taken, and how many rows of it came from prefill alone.

        None if fewer than `least` rows were only there. Asked once, before anything is computed in it.
        """
        taken = self._slots[slot]
        (rows, num_exact), taken.before = taken.before, ((), 0)
        kept = max(other.common(rows) for other in self._slots)
        return (rows, num_exact) if len(rows) - kept >= least else None

    def advance(self, slot: int, length: int, num_exact: int) -> None:
        """A slot's rows up to `length` hold its prompt, and what has grown behind it; no others do."""
        held = self._slots[slot]
        held.length, held.num_exact = length, min(num_exact, length)

    def donor(self, slot: int, reuse: Reuse) -> Allocation | None:
        """A slot that has more of what the busy `slot` needs, if copying its lane pays."""
        taken = self._slots[slot]
        best = None
        for index, other in enumerate(self._slots):
            if index == slot or other.length <= taken.length:
                continue
            usable = reuse.of(other.common(taken.tokens), other.num_exact)
            if (best is None or usable > best.num_cached) and self.pays(usable, taken.length):
                best = Allocation(index, usable, min(usable, other.num_exact))
        return best

    def written(self, least: int) -> tuple[int, Sequence[int], int] | None:
        """A free slot whose next holder will have to read what was written, if it goes on as before.

        Args:
            least: so many of its rows at least, none of them a picture's.

        Returns:
            The slot, what it holds, and from which row on that was not read; the last one released.
        """
        found = [
            (slot.released, index)
            for index, slot in enumerate(self._slots)
            if slot.goes_on and not slot.busy and slot.num_written >= least
        ]
        if not found:
            return None
        _, index = max(found)
        slot = self._slots[index]
        return index, slot.tokens, slot.num_exact

    def forget(self, slot: int) -> None:
        """Note that a free slot holds nothing."""
        held = self._slots[slot]
        held.tokens, held.length, held.num_exact = [], 0, 0

    def free(self) -> dict[int, int]:
        """Each slot that nobody uses, with the number of rows that it holds."""
        return {index: slot.length for index, slot in enumerate(self._slots) if not slot.busy}

    def lengths(self) -> list[int]:
        """The number of rows that each slot holds, whoever uses it."""
        return [slot.length for slot in self._slots]

    def swap(self, slot: int, other: int) -> None:
        """What the two held, each now has of the other, and its holder."""
        self._slots[slot], self._slots[other] = self._slots[other], self._slots[slot]

    def held(self) -> Iterator[tuple[int, list[int], int]]:
        """Each slot with what its rows hold, and how many of them came from prefill alone."""
        for index, slot in enumerate(self._slots):
            yield index, list(slot.tokens[: slot.length]), slot.num_exact

    def release(self, slot: int, tokens: Sequence[int], num_exact: int) -> None:
        """Give a slot back; its rows hold `tokens`, the first `num_exact` from prefill alone."""
        held = self._slots[slot]
        if not held.busy:
            raise ValueError(f"slot {slot} was not allocated")
        self._clock += 1
        held.tokens, held.length = list(tokens), len(tokens)
        held.num_exact = min(num_exact, held.length)
        held.released = self._clock
        held.busy = False

    def _price(self, length: int, usable: Sequence[int], index: int) -> int:
        """Quarters of a token's computation that a prompt takes in the slot at `index`."""
        prices = [4 * (length - usable[index])]
        for rows in usable:
            if self.pays(rows, usable[index]):
                copying = 1 + 4 * self._lane // _COPIED_ROWS_A_TOKEN
                prices.append(4 * (length - rows) + copying)
        return min(prices)

    def pays(self, usable: int, have: int) -> bool:
        """Whether to copy a lane that has so many usable rows for a slot that has some of them."""
        return usable > have and (usable - have) * _COPIED_ROWS_A_TOKEN >= self._lane

    def check_integrity(self) -> None:
        """Raise AssertionError if the books do not balance; the tests call it at every step."""
        for index, slot in enumerate(self._slots):
            if not 0 <= slot.num_exact <= slot.length <= len(slot.tokens):
                raise AssertionError(
                    f"slot {index}: {slot.num_exact} exact of {slot.length} of {len(slot.tokens)}"
                )
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
