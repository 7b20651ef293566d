"""Which answers are computed in one pass.

Reading the weights once serves all of them; but what must repeat may only be computed together as far
as that leaves its bits alone.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_small_edge.engine.backend import Batch, RowClasses
    from mistral_small_edge.engine.passes import Passes
    from mistral_small_edge.engine.sequence import Sequence


class Grouping:
    """Puts answers together that have nothing to check.

    Args:
        passes: what passes take; None where that is not known.
    """

    def __init__(self, rows: RowClasses, passes: Passes | None = None) -> None:
        self._rows = rows
        self._passes = passes

    def groups(self, answers: list[Sequence]) -> list[list[Sequence]]:
        """All together if their number does not matter; else the repeatable ones apart.

        In the slots' order: only neighbours in it are computed in one pass.
        """
        ordered = sorted(answers, key=lambda sequence: sequence.slot)
        width = self._rows.max_repeatable_rows
        if len(ordered) <= width:
            return self._shared_out(ordered, width)
        apart = [sequence for sequence in ordered if sequence.params.repeatable]
        others = [sequence for sequence in ordered if not sequence.params.repeatable]
        return self._shared_out(apart, width) + self._shared_out(others, len(others))

    def _shared_out(self, answers: list[Sequence], most: int) -> list[list[Sequence]]:
        """As few batches of `most` as may be, unless others take less time."""
        count = len(answers)
        if self._passes is None:
            return [answers[at : at + most] for at in range(0, count, max(most, 1))]
        rest = iter(answers)
        return [list(islice(rest, part)) for part in self._passes.parts(count, most)]

    def filled_up(self, chunks: Batch, group: list[Sequence], free: Mapping[int, int]) -> Batch:
        """The group's chunks, with others where these make the pass faster and nothing must repeat.

        Args:
            free: the rows that each slot nobody uses holds.
        """
        if self._passes is None or not self._passes.missing(len(group)):
            return chunks
        if any(sequence.draft or sequence.params.repeatable for sequence in group):
            return chunks
        return self._passes.fill(chunks, free)
