"""What slots held before they were given away, in memory: put back instead of computed again.

A slot is needed for somebody else long before its conversation is over. What it held is set aside
here, within bounds; what was not asked for the longest goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.engine.prefix import MIN_ROWS, Prefix
from mistral_small_edge.engine.prefix_cache import Allocation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_small_edge.engine.reuse import Reuse


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A prefix, and the runner's own bytes for it."""

    prefix: Prefix
    state: memoryview


class PrefixMemory:
    """Prefixes of one runner. Used by one thread.

    Args:
        max_bytes: of all states together.
        affords: whether a copy of so many rows may be taken into memory now.
    """

    def __init__(
        self, max_bytes: int, *, affords: Callable[[int], bool] = lambda _rows: True
    ) -> None:
        self._max_bytes = max_bytes
        self._affords = affords
        self._kept: list[Kept] = []  # the longest unused first

    @property
    def num_bytes(self) -> int:
        """Bytes of all states."""
        return sum(one.state.nbytes for one in self._kept)

    def find(self, prompt: Sequence[int], reuse: Reuse) -> tuple[Kept, Allocation] | None:
        """What has most of the prompt, and how many leading rows of it the prompt can take over."""
        best: tuple[Kept, Allocation] | None = None
        for one in self._kept:
            usable = one.prefix.usable(prompt, reuse)
            if usable >= MIN_ROWS and (best is None or usable > best[1].num_cached):
                best = one, Allocation(-1, usable, min(usable, one.prefix.num_exact))
        return best

    def read(self, kept: Kept) -> memoryview:
        """Its state, which stays here."""
        self._kept.remove(kept)
        self._kept.append(kept)
        return kept.state

    def wants(self, rows: Sequence[int], num_exact: int) -> bool:
        """Whether a slot's rows are worth a copy: there is room, and nothing here has most of them."""
        if len(rows) < MIN_ROWS or not self._affords(len(rows)):
            return False
        missing = min((one.prefix.lacks(rows, num_exact) for one in self._kept), default=len(rows))
        return missing >= MIN_ROWS

    def keep(self, rows: Sequence[int], num_exact: int, state: memoryview) -> None:
        """Keep a slot's rows, if there is room for them at all; mere beginnings of them go."""
        if state.nbytes > self._max_bytes:
            return
        self._kept = [one for one in self._kept if not one.prefix.begins(rows, num_exact)]
        self._kept.append(Kept(Prefix(rows, num_exact), state))
        while self.num_bytes > self._max_bytes:
            del self._kept[0]
