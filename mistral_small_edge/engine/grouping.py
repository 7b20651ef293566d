"""Which answers are computed in one pass.

Reading the weights once serves all of them; but what must repeat may only be computed together as far
as that leaves its bits alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_small_edge.engine.backend import Batch, RowClasses
    from mistral_small_edge.engine.passes import Passes
    from mistral_small_edge.engine.sequence import Sequence


class Grouping:
    """Puts answers together that have nothing to check.

    Args:
        passes: adds rows that have a pass take less time; None adds none.
    """

    def __init__(self, rows: RowClasses, passes: Passes | None = None) -> None:
        self._rows = rows
        self._passes = passes

    def groups(self, answers: list[Sequence]) -> list[list[Sequence]]:
        """One batch for all if their number does not matter; else the repeatable ones apart.

        In the slots' order: only neighbours in it are computed in one pass.
        """
        ordered = sorted(answers, key=lambda sequence: sequence.slot)
        width = self._rows.max_repeatable_rows
        if len(ordered) <= width:
            return [ordered] if ordered else []
        apart = [sequence for sequence in ordered if sequence.params.repeatable]
        others = [sequence for sequence in ordered if not sequence.params.repeatable]
        groups = [apart[at : at + width] for at in range(0, len(apart), width)]
        return [*groups, others] if others else groups

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
