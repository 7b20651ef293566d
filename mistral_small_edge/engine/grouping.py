"""Which answers are computed in one pass.

Reading the weights once serves all of them; but what must repeat may only be computed together as far
as that leaves its bits alone. Either as few rows as are computed like one; or always as many as a faster
kernel takes at once, where whatever is in the other slots, or nothing, makes up the number.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import Chunk

if TYPE_CHECKING:
    from mistral_small_edge.engine.backend import Batch, RowClasses
    from mistral_small_edge.engine.passes import Passes
    from mistral_small_edge.engine.prefix_cache import PrefixCache
    from mistral_small_edge.engine.sequence import Sequence


class Grouping:
    """Puts answers together that have nothing to check.

    Args:
        cache: knows what slots hold.
        passes: what passes take; None where that is not known.
    """

    def __init__(self, rows: RowClasses, cache: PrefixCache, passes: Passes | None = None) -> None:
        self._rows = rows
        self._cache = cache
        self._passes = passes

    def groups(self, answers: list[Sequence]) -> list[list[Sequence]]:
        """All together if their number does not matter; else the repeatable ones apart.

        In the slots' order: only neighbours in it are computed in one pass.
        """
        ordered = sorted(answers, key=lambda sequence: sequence.slot)
        if self._rows.exact_pass:
            return self._in_exact_passes(ordered)
        width = self._rows.max_repeatable_rows
        if len(ordered) <= width:
            return self._shared_out(ordered, width)
        apart = [sequence for sequence in ordered if sequence.params.repeatable]
        others = [sequence for sequence in ordered if not sequence.params.repeatable]
        return self._shared_out(apart, width) + self._shared_out(others, len(others))

    def completed(self, chunks: Batch, group: list[Sequence]) -> Batch:
        """The chunks of such a group, and others where these make the pass one that repeats, or faster."""
        if any(sequence.params.repeatable for sequence in group):
            return self._with_neighbours(chunks) if self._rows.exact_pass else chunks
        if self._passes is None or not self._passes.missing(len(group)):
            return chunks
        return self._passes.fill(chunks, self._cache.free())

    def _shared_out(self, answers: list[Sequence], most: int) -> list[list[Sequence]]:
        """As few batches of `most` as may be, unless others take less time."""
        count = len(answers)
        if self._passes is None:
            return [answers[at : at + most] for at in range(0, count, max(most, 1))]
        rest = iter(answers)
        return [list(islice(rest, part)) for part in self._passes.parts(count, most)]

    def _in_exact_passes(self, answers: list[Sequence]) -> list[list[Sequence]]:
        """As few as have all that must repeat, with whoever is between these; and then the others."""
        groups = []
        while first := next((one for one in answers if one.params.repeatable), None):
            place = self._place(first.slot)
            groups.append([one for one in answers if one.slot in place])
            answers = [one for one in answers if one.slot not in place]
        return groups + self._shared_out(answers, len(answers))

    def _with_neighbours(self, chunks: Batch) -> Batch:
        """A row of every slot of the pass: those that have none to compute lend one.

        Nothing is lost by it: what is computed behind a slot's rows is forgotten.
        """
        wanted = {chunk.slot: chunk for chunk in chunks}
        lengths = self._cache.lengths()
        return tuple(
            wanted.get(slot) or Chunk(slot, lengths[slot], (), sample=False, padding=1)
            for slot in self._place(chunks[0].slot)
        )

    def _place(self, first: int) -> range:
        """The slots of a pass from `first` on, or from before it where there are too few behind."""
        first = min(first, self._cache.num_slots - self._rows.exact_pass)
        return range(first, first + self._rows.exact_pass)
