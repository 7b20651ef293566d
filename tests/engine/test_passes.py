"""Free slots lend rows to answers beside them, where that takes less time, and lose nothing by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.backend import Chunk
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.outputs import Failed
from mistral_small_edge.engine.passes import Passes
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import FOURS, PASSES, ROWS, Desk
from tests.fakes import FakeRunner, copied

if TYPE_CHECKING:
    from mistral_small_edge.engine.backend import Batch

SAMPLED = SamplingParams(max_tokens=20, temperature=1, ignore_eos=True)
REPEATABLE = SamplingParams(max_tokens=20, temperature=0, ignore_eos=True)


def desk(slots: int, passes: Passes | None = PASSES) -> Desk:
    runner = FakeRunner(slots, context_length=64, row_classes=ROWS, says=copied)
    return Desk(runner, passes=passes)


def answered(asked: Desk, params: list[SamplingParams]) -> list[Batch]:
    """The batches in which all of these, asked at once, go on."""
    requests = [asked.add((at, 2, 3, 4), one) for at, one in enumerate(params)]
    asked.run()
    for request in requests:
        asked.check_answer(request)
    batches = [batch for batch in asked.runner.batches if batch[0].start >= 4]
    return [batch for batch in batches if sum(map(is_wanted, batch)) == len(params)]


def is_wanted(chunk: Chunk) -> bool:
    return bool(chunk.tokens)


def rows(batch: Batch) -> int:
    return sum(len(chunk.tokens) + chunk.padding for chunk in batch)


@pytest.mark.parametrize("answers", [2, 3])
def test_two_or_three_are_filled_up_to_four(answers: int) -> None:
    batches = answered(desk(4), [SAMPLED] * answers)
    assert len(batches) > 10
    assert {rows(batch) for batch in batches} == {4}
    assert all([chunk.slot for chunk in batch] == [0, 1, 2, 3] for batch in batches)


@pytest.mark.parametrize("answers", [1, 4, 5])
def test_others_are_not(answers: int) -> None:
    batches = answered(desk(8), [SAMPLED] * answers)
    assert len(batches) > 10
    assert {rows(batch) for batch in batches} == {answers}


def test_nobody_is_filled_up_where_more_rows_always_take_longer() -> None:
    asked = desk(4, Passes(StepCosts(), 1e9, lane=64))
    assert {rows(batch) for batch in answered(asked, [SAMPLED] * 3)} == {3}


def test_what_must_repeat_is_computed_as_ever() -> None:
    for params in ([REPEATABLE] * 2, [REPEATABLE, SAMPLED]):
        batches = answered(desk(4), params)
        assert batches
        assert {rows(batch) for batch in batches} == {2}


def test_without_a_free_slot_there_is_nothing_to_fill_up_with() -> None:
    assert {rows(batch) for batch in answered(desk(3), [SAMPLED] * 3)} == {3}


def test_a_model_without_rows_lends_none() -> None:
    asked = desk(4)
    asked.runner.keeps_rows = False
    asked = Desk(asked.runner, passes=PASSES)
    assert {rows(batch) for batch in answered(asked, [SAMPLED] * 3)} == {3}


def test_what_a_lender_holds_is_still_there() -> None:
    asked = desk(4)
    for number in range(4):
        asked.add([number] * 10, SamplingParams(max_tokens=1))
    asked.run()
    for number in (0, 1, 2):
        asked.add((*[number] * 10, 5, 6), SAMPLED)
    asked.run()
    lent = [chunk for batch in asked.runner.batches for chunk in batch if not chunk.tokens]
    assert {(chunk.slot, chunk.start) for chunk in lent} == {(3, 10)}
    again = asked.add((*[3] * 10, 5, 6), SAMPLED)
    asked.run()
    assert asked.end(again).cached_tokens == 10
    asked.check_answer(again)


def test_a_batch_that_fails_takes_what_the_lender_had() -> None:
    asked = desk(3)
    kept = Prompt((7,) * 20)
    asked.add(kept, SamplingParams(max_tokens=1))
    asked.run()
    asked.runner.fail_on = lambda batch: not all(map(is_wanted, batch))
    narrow = StepCosts(((1, 1.0), (2, 1.9), (3, 1.1), (32, 9.0)))
    asked = Desk(asked.runner, passes=Passes(narrow, 1e9, lane=64))
    asked.add(kept, SamplingParams(max_tokens=1))
    asked.run()
    for start in (1, 2):
        asked.add((start, 2, 3, 4), SAMPLED)
    asked.run()
    assert [type(asked.outputs[request][-1]) for request in (1, 2)] == [Failed, Failed]
    assert asked.runner.lanes == [[], [], []]
    again = asked.add(kept, SAMPLED)
    asked.run()
    assert asked.end(again).cached_tokens == 0
    asked.check_answer(again)


def at(slot: int, start: int) -> Chunk:
    return Chunk(slot, start, (1,), sample=True)


def test_the_slots_that_hold_least_lend_their_rows() -> None:
    answers = at(2, 10), at(3, 10)
    free = {0: 5, 1: 5, 4: 6, 5: 6, 6: 0}
    filled = Passes(FOURS, 1e9, lane=64).fill(answers, free)
    assert [chunk.slot for chunk in filled] == [0, 1, 2, 3]
    free[0] = 7
    filled = Passes(FOURS, 1e9, lane=64).fill(answers, free)
    assert [(chunk.slot, chunk.start) for chunk in filled] == [(1, 5), (2, 10), (3, 10), (4, 6)]


def test_slots_between_answers_lend_too() -> None:
    answers = at(1, 10), at(3, 10), at(4, 10)
    filled = PASSES.fill(answers, {0: 0, 2: 9, 5: 0})
    assert [chunk.slot for chunk in filled] == [1, 2, 3, 4]
    assert PASSES.fill(answers, {0: 0, 5: 0}) == answers


def test_a_slot_that_is_full_lends_nothing() -> None:
    answers = at(0, 10), at(1, 10), at(2, 10)
    assert PASSES.fill(answers, {3: 64}) == answers
    assert len(PASSES.fill(answers, {3: 63})) == 4


def test_attention_to_what_a_slot_holds_can_take_more_than_is_saved() -> None:
    # Three rows take 2.0 and four 1.1: 0.9 of a step is saved, the attention of 90 rows.
    passes = Passes(FOURS, 100, lane=1000)
    answers = at(0, 20), at(1, 10), at(2, 10)
    assert len(passes.fill(answers, {3: 37})) == 4  # 4 * 37 - 3 * 20 = 88
    assert passes.fill(answers, {3: 38}) == answers
    longer = at(0, 91), at(1, 10), at(2, 10)
    assert passes.fill(longer, {3: 0}) == longer


@given(
    slots=st.sets(st.integers(0, 7), min_size=2, max_size=3),
    free=st.dictionaries(st.integers(0, 7), st.integers(0, 64)),
)
def test_whatever_lies_where_neighbours_alone_are_added(
    slots: set[int], free: dict[int, int]
) -> None:
    free = {slot: held for slot, held in free.items() if slot not in slots}
    answers = tuple(at(slot, 10) for slot in sorted(slots))
    filled = PASSES.fill(answers, free)
    assert tuple(filter(is_wanted, filled)) == answers
    if filled != answers:
        together = [chunk.slot for chunk in filled]
        assert together == list(range(together[0], together[0] + 4))
        assert all(chunk.start == free[chunk.slot] < 64 for chunk in filled if not chunk.tokens)
