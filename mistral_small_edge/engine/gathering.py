"""Where answers lie. Rows of one pass must be in slots that follow one another.

llama.cpp computes the others in passes of their own, each of which reads all weights again: two
answers with a slot between them take the time of two, side by side that of one and a little. So an answer
changes places with what the slot beside the others holds, to the last bit, where that soon pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mistral_small_edge.engine.calibration import StepCosts
    from mistral_small_edge.engine.sequence import Sequence

_TOKENS = 16  # within so many of each answer it must have paid


class Gathering:
    """Decides which answer is to move, and where.

    Args:
        costs: what a pass of some rows takes.
        rows_a_step: rows that are read and written elsewhere in the time of a step of one token.
        affords: whether there is memory for a copy of so many rows.
    """

    def __init__(
        self, costs: StepCosts, rows_a_step: float, affords: Callable[[int], bool]
    ) -> None:
        self._costs = costs
        self._rows_a_step = rows_a_step
        self._affords = affords

    def move(
        self, groups: list[list[Sequence]], free: Mapping[int, int]
    ) -> tuple[Sequence, int] | None:
        """An answer, and the free slot that it should change places with; one move of several.

        Args:
            groups: what is to be computed together, in the slots' order.
            free: the rows that each slot nobody uses holds.
        """
        answers = sorted((one for group in groups for one in group), key=lambda one: one.slot)
        slots = [one.slot for one in answers]
        if len(_runs(slots)) <= 1:
            return None
        now = self._steps([one.slot for one in group] for group in groups)
        rank = {slot: at for at, slot in enumerate(slots)}
        side_by_side = self._steps([rank[one.slot] for one in group] for group in groups)
        moves = _cheapest(answers, free)
        if moves is None:
            return None
        rows = sum(one.num_computed + free[slot] for one, slot in moves)
        if rows > (now - side_by_side) * _TOKENS * self._rows_a_step:
            return None
        one, slot = moves[0]
        return moves[0] if self._affords(one.num_computed + free[slot]) else None

    def _steps(self, groups: Iterable[list[int]]) -> float:
        """What a token of each takes, in steps of one row."""
        return sum(self._costs.of(rows) for slots in groups for rows in _runs(slots))


def _cheapest(
    answers: list[Sequence], free: Mapping[int, int]
) -> list[tuple[Sequence, int]] | None:
    """Which answers to move where so that all lie side by side and fewest rows move."""
    slots = {one.slot for one in answers}
    usable = slots | free.keys()
    best = None
    fewest = 0
    for first in usable:
        place = range(first, first + len(answers))
        if not usable.issuperset(place):
            continue
        outside = [one for one in answers if one.slot not in place]
        moves = list(zip(outside, sorted(set(place) - slots), strict=True))
        rows = sum(one.num_computed + free[slot] for one, slot in moves)
        if best is None or rows < fewest:
            best, fewest = moves, rows
    return best


def _runs(slots: list[int]) -> list[int]:
    """How many follow one another, in order."""
    runs: list[int] = []
    for at, slot in enumerate(slots):
        if at and slot == slots[at - 1] + 1:
            runs[-1] += 1
        else:
            runs.append(1)
    return runs
