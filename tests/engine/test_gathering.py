"""Answers come to lie side by side where that pays, and nothing that was read is lost by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.gathering import Gathering
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.engine.sequence import Sequence
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import GATHERING, ROWS, Desk
from tests.fakes import FakeRunner, copied

if TYPE_CHECKING:
    from mistral_small_edge.engine.backend import Chunk

ONE = SamplingParams(max_tokens=1, ignore_eos=True)
MANY = SamplingParams(max_tokens=30, temperature=1, ignore_eos=True)
REPEATABLE = SamplingParams(max_tokens=30, temperature=0, ignore_eos=True)
HALF = StepCosts(((1, 1.0), (2, 1.5), (32, 16.5)))  # a further row takes half of the first one


def conversation(number: int) -> tuple[int, ...]:
    return (*[number] * 10, 50, 51, 52, 53)


def opened(desk: Desk, slots: int) -> Desk:
    """Each slot holds a conversation of its number."""
    for number in range(slots):
        desk.add(conversation(number), ONE)
    desk.run()
    assert [lane[0] for lane in desk.runner.lanes] == list(range(slots))
    return desk


def gone_on(desk: Desk, numbers: tuple[int, ...], params: SamplingParams) -> list[list[Chunk]]:
    """The batches of answers when these go on together."""
    before = len(desk.runner.batches)
    asked = [desk.add((*conversation(number), 7, 8, 9), params) for number in numbers]
    desk.run()
    for request in asked:
        desk.check_answer(request)
    answered = [list(batch) for batch in desk.runner.batches[before:]]
    return [batch for batch in answered if len(batch[0].tokens) == 1]


def are_neighbours(batch: list[Chunk]) -> bool:
    slots = [chunk.slot for chunk in batch]
    return slots == list(range(slots[0], slots[0] + len(slots)))


def runner(slots: int) -> FakeRunner:
    return FakeRunner(slots, context_length=100, row_classes=ROWS, says=copied)


@pytest.mark.parametrize("numbers", [(0, 2), (0, 4), (1, 3, 5), (0, 1, 3, 5), (0, 1, 2, 4, 5)])
def test_answers_with_others_between_them_come_together(numbers: tuple[int, ...]) -> None:
    desk = opened(Desk(runner(6), gathering=GATHERING), 6)
    batches = gone_on(desk, numbers, MANY)
    together = [batch for batch in batches if len(batch) == len(numbers)]
    assert len(together) > 20
    assert all(map(are_neighbours, together))


def test_what_made_room_is_still_there() -> None:
    desk = opened(Desk(runner(6), gathering=GATHERING), 6)
    gone_on(desk, (0, 2, 4), MANY)
    held = [tuple(rows) for _, rows, _ in desk.engine.cache.held()]
    for number in range(6):
        (rows,) = [
            rows for rows in held if rows[: len(conversation(number))] == conversation(number)
        ]
        assert (len(rows) > 40) is (number in {0, 2, 4})
    for slot, shown, _ in desk.engine.cache.held():
        assert desk.runner.lanes[slot][: len(shown)] == shown


def test_without_it_they_stay_where_they_began() -> None:
    desk = opened(Desk(runner(6)), 6)
    batches = gone_on(desk, (0, 2), MANY)
    assert not any(are_neighbours(batch) for batch in batches if len(batch) == 2)


def test_seeded_answers_move_only_where_they_share_a_pass() -> None:
    desk = opened(Desk(runner(6), gathering=GATHERING), 6)
    batches = gone_on(desk, (0, 2), REPEATABLE)
    assert all(map(are_neighbours, [batch for batch in batches if len(batch) == 2]))
    assert ROWS.max_repeatable_rows == 2
    alone = Gathering(HALF, 1e9, lambda _rows: True)
    answers = [[answer(0, 10, REPEATABLE)], [answer(2, 10, REPEATABLE)]]
    assert alone.move(answers, {1: 0, 3: 0}) is None, "each is computed by itself anyway"


def test_a_copy_that_cannot_be_had_is_not_asked_for_again() -> None:
    @dataclass
    class Tight(FakeRunner):
        refused: int = 0

        def save(self, slot: int) -> memoryview:
            self.refused += 1
            raise DecodeFailed(-100, slot)

    tight = Tight(6, context_length=100, row_classes=ROWS, says=copied)
    gone_on(opened(Desk(tight, gathering=GATHERING), 6), (0, 2, 4), MANY)
    assert tight.refused == 1


@pytest.mark.parametrize("failing", [1, 2])
def test_a_copy_that_is_not_taken_ends_no_answer(failing: int) -> None:
    @dataclass
    class Torn(FakeRunner):
        restored: int = 0

        def restore(self, slot: int, state: memoryview, length: int) -> None:
            self.restored += 1
            if self.restored == failing:
                self.lanes[slot] = []
                raise DecodeFailed(-100, length)
            super().restore(slot, state, length)

    torn = Torn(6, context_length=100, row_classes=ROWS, says=copied)
    desk = opened(Desk(torn, gathering=GATHERING), 6)
    gone_on(desk, (0, 2), MANY)
    for number in range(6):
        gone_on(desk, (number,), MANY)


def answer(slot: int, rows: int, params: SamplingParams = MANY) -> Sequence:
    sequence = Sequence(slot, Prompt((1, 2, 3)), params, 0.0)
    sequence.slot, sequence.num_computed = slot, rows
    return sequence


def test_it_must_soon_pay() -> None:
    # Two passes of one row instead of one of two: half a step a token, eight in sixteen tokens.
    answers = [[answer(0, 90), answer(2, 100)]]
    free = {1: 30, 3: 100}
    assert Gathering(HALF, 15.1, lambda _rows: True).move(answers, free) == (answers[0][0], 1)
    assert Gathering(HALF, 14.9, lambda _rows: True).move(answers, free) is None
    assert Gathering(HALF, 15.1, lambda rows: rows < 120).move(answers, free) is None


def test_fewest_rows_are_moved() -> None:
    gathering = Gathering(HALF, 1e9, lambda _rows: True)
    answers = [[answer(0, 500), answer(3, 20), answer(5, 30)]]
    assert gathering.move(answers, {1: 0, 2: 0, 4: 1000}) == (answers[0][1], 1)
    assert gathering.move(answers, {1: 1000, 2: 1000, 4: 0}) == (answers[0][0], 4)
    assert gathering.move([[answer(0, 5), answer(3, 20)]], {4: 0}) is not None


def test_a_prompt_that_is_being_read_is_not_in_the_way_of_others() -> None:
    gathering = Gathering(HALF, 1e9, lambda _rows: True)
    answers = [[answer(0, 10), answer(3, 10)]]
    assert gathering.move(answers, {1: 0}) == (answers[0][1], 1)
    assert gathering.move(answers, {4: 0}) == (answers[0][0], 4)
    assert gathering.move(answers, {}) is None


@given(
    rows=st.dictionaries(st.integers(0, 9), st.integers(1, 50), min_size=1),
    free=st.dictionaries(st.integers(0, 9), st.integers(0, 50)),
)
def test_moves_come_to_an_end_side_by_side(rows: dict[int, int], free: dict[int, int]) -> None:
    free = {slot: held for slot, held in free.items() if slot not in rows}
    answers = [answer(slot, count) for slot, count in rows.items()]
    gathering = Gathering(HALF, 1e9, lambda _rows: True)
    moved = 0
    while move := gathering.move([sorted(answers, key=lambda one: one.slot)], free):
        one, slot = move
        free[one.slot] = free.pop(slot)
        one.slot = slot
        moved += 1
    slots = sorted(one.slot for one in answers)
    assert moved <= len(answers)
    room = any(
        set(range(at, at + len(slots))) <= {*slots, *free} for at in range(10 - len(slots) + 1)
    )
    assert not room or slots == list(range(slots[0], slots[0] + len(slots)))
