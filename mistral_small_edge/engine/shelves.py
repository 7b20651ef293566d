"""What was read and no slot has any more, or will not have for long: in memory and on disk.

Between the slots and these two: what a slot that is given away held is set aside in memory, what all
hold is written for a later process in idle moments, and what a prompt needs is looked for in both. And
between slot and slot, where one is needed for what another holds.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from mistral_small_edge.engine.prefix import MIN_ROWS
from mistral_small_edge.errors import DecodeFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.engine.backend import ModelRunner
    from mistral_small_edge.engine.prefix_cache import Allocation, PrefixCache
    from mistral_small_edge.engine.prefix_memory import PrefixMemory
    from mistral_small_edge.engine.prefix_store import PrefixStore
    from mistral_small_edge.engine.reuse import Reuse


class _Shelf(Protocol):
    def find(self, prompt: Sequence[int], reuse: Reuse) -> tuple[Any, Allocation] | None: ...

    def read(self, key: Any, /) -> memoryview | None: ...


class Shelves:
    """Where rows are besides a runner's slots. Used by one thread; either shelf may be missing."""

    def __init__(
        self,
        runner: ModelRunner,
        cache: PrefixCache,
        store: PrefixStore | None,
        memory: PrefixMemory | None,
    ) -> None:
        self._runner = runner
        self._cache = cache
        self._store = store if runner.keeps_rows else None
        self._memory = memory if runner.keeps_rows else None

    def set_aside(self, slot: int) -> None:
        """Keep what a slot that was given away holds, before it is lost."""
        if self._memory is None:
            return
        held = self._cache.displaced(slot, MIN_ROWS)
        if held is not None and self._memory.wants(*held):
            with suppress(DecodeFailed, MemoryError):  # then it is computed again some day
                self._memory.keep(*held, self._runner.save(slot))

    def swap(self, slot: int, rows: int, free: int, held: int) -> bool:
        """Exchange what two slots hold, and their places in the cache's books.

        Args:
            rows: of `slot` that count.
            free: a slot that nobody uses; `held` rows of it count.

        Returns:
            False if it cannot be done; then `slot` is as it was.
        """
        try:
            moved = self._runner.save(slot)
            other = self._runner.save(free) if held else None
        except (DecodeFailed, MemoryError):
            return False
        if not self._put(free, moved, rows):
            return False
        self._cache.swap(slot, free)
        self._put(slot, other, held)
        return True

    def _put(self, slot: int, state: memoryview | None, rows: int) -> bool:
        """Have a slot hold what was saved of another, or nothing; False if it holds nothing instead."""
        try:
            if state is not None:
                self._runner.restore(slot, state, rows)
                return True
        except DecodeFailed:
            self._cache.advance(slot, 0, 0)
        self._runner.truncate(slot, 0)
        return state is None

    def find(
        self, prompt: Sequence[int], most: int, reuse: Reuse
    ) -> tuple[memoryview, Allocation] | None:
        """A state with more than `most` leading rows of the prompt, and how many; the most there is."""
        found = None
        shelves: tuple[_Shelf | None, ...] = (self._memory, self._store)
        for shelf in shelves:
            hit = None if shelf is None else shelf.find(prompt, reuse)
            if shelf is None or hit is None or hit[1].num_cached <= most:
                continue
            state = shelf.read(hit[0])
            if state is not None:
                most, found = hit[1].num_cached, (state, hit[1])
        return found

    def keep(self, *, closing: bool = False) -> bool:
        """Store what a slot holds, for a later process; what all of them hold when `closing`.

        The one is copied here and written by another thread, so that a request that comes in
        meanwhile waits for the copy alone.

        Returns:
            Whether to ask again, in another idle moment.
        """
        if self._store is None:
            return False
        if self._store.is_writing and not closing:
            return True
        for slot, rows, num_exact in self._cache.held():
            if self._store.wants(rows, num_exact, closing=closing):
                with suppress(DecodeFailed, MemoryError):  # then they are computed again some day
                    self._store.write(rows, num_exact, self._runner.save(slot), aside=not closing)
                    if not closing:
                        return True
        return False

    def close(self) -> None:
        """Wait for what is being written. Idempotent."""
        if self._store is not None:
            self._store.close()
