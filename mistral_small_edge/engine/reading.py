"""Which prompts are read in one batch.

A batch takes some time whatever it holds: the weights are fetched, and by some kernels unpacked, for all
of its rows. So short prompts that have come at the same time share one. llama.cpp computes them in one pass
if all have as many rows, and their slots follow one another; what each gives then does not depend on the others,
as long as no more of them are sampled than may be answered together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_small_edge.engine.prefix_cache import common_prefix

if TYPE_CHECKING:
    from mistral_small_edge.engine.backend import Batch, RowClasses
    from mistral_small_edge.engine.cutting import Cutting
    from mistral_small_edge.engine.passes import Passes
    from mistral_small_edge.engine.prefix_cache import PrefixCache
    from mistral_small_edge.engine.sequence import Sequence

_GAIN = 1.05  # less is not worth rows that are thrown away


class Reading:
    """Puts prompts together, and has each of them have as many rows.

    Args:
        cache: knows whether it pays to copy what two of them begin with.
        passes: what passes take; None where that is not known.
        lane: rows in a slot.
    """

    def __init__(
        self,
        rows: RowClasses,
        cutting: Cutting,
        cache: PrefixCache,
        passes: Passes | None,
        lane: int,
    ) -> None:
        self._rows = rows
        self._cutting = cutting
        self._cache = cache
        self._fixed = None if passes is None else passes.fixed_rows
        self._lane = lane

    def groups(self, prompts: list[Sequence], most: int) -> list[list[Sequence]]:
        """Those whose next rows are to be read in one batch, of `most` rows, and those that are read alone."""
        if self._rows.shared_prompts < 2 or self._fixed is None:
            return [[one] for one in prompts]
        groups: list[list[Sequence]] = []
        for one in prompts:
            group = next((group for group in groups if self._joins(one, group, most)), None)
            if group is None:
                groups.append([one])
            else:
                group.append(one)
                group.sort(key=lambda one: one.slot)
        return groups

    def batch(self, group: list[Sequence]) -> Batch | None:
        """All that is left of these, each with as many rows; None if a slot has no room for so many any more."""
        rows = self._rows_each(group)
        if not self._have_room(group, rows):
            return None
        chunks = (self._cutting.chunk(one, rows) for one in group)
        return tuple(replace(one, padding=rows - len(one.tokens)) for one in chunks)

    def _joins(self, one: Sequence, group: list[Sequence], most: int) -> bool:
        """Whether all are read sooner with one more among them."""
        more = [*group, one]
        slots = sorted(other.slot for other in more)
        if len(more) > self._rows.shared_prompts or slots[-1] - slots[0] != len(group):
            return False
        rows = self._rows_each(more)
        if len(more) * rows > most or not self._have_room(more, rows):
            return False
        if not all(map(_may_share, more)) or any(self._alike(one, other) for other in group):
            return False
        return _GAIN * self._took(more) < self._took(group) + self._took([one])

    def _alike(self, one: Sequence, other: Sequence) -> bool:
        """Whether one of them had better be read first, and what it has be copied."""
        common = common_prefix(one.prompt.tokens, other.prompt.tokens)
        return self._cache.pays(common, max(one.num_computed, other.num_computed))

    def _took(self, group: list[Sequence]) -> float:
        """What a batch for all of them takes, in rows."""
        assert self._fixed is not None  # noqa: S101 - nothing is put together without
        return self._fixed + len(group) * self._rows_each(group)

    def _rows_each(self, group: list[Sequence]) -> int:
        if len(group) == 1:
            return group[0].remaining_prompt
        return self._rows.filled(max(one.remaining_prompt for one in group))

    def _have_room(self, group: list[Sequence], rows: int) -> bool:
        return all(one.num_computed + rows <= self._lane for one in group)


def _may_share(sequence: Sequence) -> bool:
    scored = sequence.params.prompt_logprobs is not None
    return bool(sequence.remaining_prompt) and not sequence.prompt.pictures and not scored
