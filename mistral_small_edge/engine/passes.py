"""What passes of several answers take, and which rows make them take less.

Where a kernel takes four rows at once, two or three answers take longer than four: it leaves them to another
one, which reads the weights for each. So slots that nobody uses lend a row to the answers beside them: it makes
up the number, and is computed and forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import Chunk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_small_edge.engine.backend import Batch
    from mistral_small_edge.engine.calibration import StepCosts


class Passes:
    """Shares answers out to passes, and decides which rows to add to those that need not repeat.

    Args:
        costs: what a pass of some rows takes.
        rows_a_step: rows of one slot that are attended to in the time of a step of one token.
        lane: rows in a slot.
    """

    def __init__(self, costs: StepCosts, rows_a_step: float, lane: int) -> None:
        self._costs = costs
        self._rows_a_step = rows_a_step
        self._lane = lane

    @property
    def fixed_rows(self) -> float:
        """What a prompt's batch takes whatever its rows, in rows."""
        return self._costs.fixed_rows

    def parts(self, answers: int, most: int) -> tuple[int, ...]:
        """How many to compute at a time, `most` at the most, so that each has its token soonest.

        Two passes of four may take less than one of eight: wider ones have kernels of their own.
        """
        return self._costs.parts(answers, most)

    def missing(self, answers: int) -> int:
        """How many rows so many answers lack to take the least time."""
        return self._costs.filled(answers) - answers

    def fill(self, answers: Batch, free: Mapping[int, int]) -> Batch:
        """The answers' rows, and others among and beside them if these can be had and are worth it.

        Args:
            answers: one row each, in the slots' order; some are missing.
            free: the rows that each slot nobody uses holds.
        """
        count = self._costs.filled(len(answers))
        first, last = answers[0].slot, answers[-1].slot
        taken = {chunk.slot for chunk in answers}
        # Only slots that follow one another are computed in one pass.
        places = (range(at, at + count) for at in range(last - count + 1, first + 1))
        lent = [[slot for slot in place if slot not in taken] for place in places]
        usable = [slots for slots in lent if all(self._has_room(free.get(one)) for one in slots)]
        if not usable:
            return answers
        slots = min(usable, key=lambda slots: max(free[slot] for slot in slots))
        if not self._pays(answers, [free[slot] for slot in slots]):
            return answers
        rows = [Chunk(slot, free[slot], (), sample=False, padding=1) for slot in slots]
        return tuple(sorted((*answers, *rows), key=lambda chunk: chunk.slot))

    def _has_room(self, rows: int | None) -> bool:
        return rows is not None and rows < self._lane

    def _pays(self, answers: Batch, lent: list[int]) -> bool:
        """Whether less is saved by the kernel than is lost by attention.

        In a pass of several slots each is attended to as far as the longest of them goes.
        """
        alone, filled = len(answers), len(answers) + len(lent)
        longest = max(chunk.start for chunk in answers)
        attended = filled * max(longest, *lent) - alone * longest
        return attended < (self._costs.of(alone) - self._costs.of(filled)) * self._rows_a_step
