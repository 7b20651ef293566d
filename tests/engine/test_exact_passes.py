"""Answers that must repeat, in passes of one width: whoever is beside them, and nobody loses by it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.engine.backend import RowClasses
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.outputs import Failed
from mistral_small_edge.engine.scheduler import Compute
from mistral_small_edge.engine.sequence import SequenceStatus
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import GATHERING, PASSES, Desk, params, play, prompts, steps
from tests.fakes import FakeRunner, copied, next_token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_small_edge.engine.backend import Batch
    from mistral_small_edge.engine.prompt import Prompt
    from tests.engine.test_engine import Script

WIDTH = 3
ROWS = RowClasses(min_prefill_rows=3, max_repeatable_rows=2, exact_pass=WIDTH)
REPEATABLE = SamplingParams(max_tokens=20, temperature=0, ignore_eos=True)
SAMPLED = SamplingParams(max_tokens=20, temperature=1, ignore_eos=True)


class Watched(Desk):
    """Notes the batches of answers that have no guess to check, and whether any must repeat."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.answered: list[tuple[Batch, bool]] = []
        schedule = self.engine.scheduler.schedule

        def watched() -> object:
            work = schedule()
            if isinstance(work, Compute) and work.sequences[0].status is SequenceStatus.DECODE:
                exact = any(one.params.repeatable for one in work.sequences)
                if not any(chunk.drafted for chunk in work.batch):
                    self.answered.append((work.batch, exact))
            return work

        self.engine.scheduler.schedule = watched  # type: ignore[method-assign, assignment]


def watched(slots: int, **how: object) -> Watched:
    return Watched(FakeRunner(slots, row_classes=ROWS, says=copied), **how)  # type: ignore[arg-type]


def wanted(batch: Batch) -> list[int]:
    return [chunk.slot for chunk in batch if chunk.tokens]


@settings(max_examples=300, deadline=None)
@given(
    script=st.lists(steps, max_size=60),
    slots=st.integers(WIDTH, 6),
    costs=st.sampled_from([None, StepCosts(((1, 1.0), (32, 1.0)))]),
    says=st.sampled_from([next_token, copied]),
    gathers=st.booleans(),
    fills=st.booleans(),
)
def test_under_any_schedule_all_that_must_repeat_is_computed_in_whole_passes(
    script: Script,
    slots: int,
    costs: StepCosts | None,
    says: Callable[[Sequence[int]], int],
    gathers: bool,
    fills: bool,
) -> None:
    desk = Watched(
        FakeRunner(slots, row_classes=ROWS, says=says),
        costs,
        gathering=GATHERING if gathers else None,
        passes=PASSES if fills else None,
    )
    play(desk, script)
    for batch, exact in desk.answered:
        places = [chunk.slot for chunk in batch]
        assert all(len(chunk.tokens) + chunk.padding == 1 for chunk in batch)
        if exact:
            assert places == list(range(places[0], places[0] + WIDTH))


def test_as_few_passes_as_have_them_all() -> None:
    desk = watched(6)
    for at in range(6):
        desk.add((at, 2, 3, 4), REPEATABLE)
    desk.run()
    passes = [wanted(batch) for batch, _ in desk.answered]
    assert ([0, 1, 2], [3, 4, 5]) in pairwise(passes)


def test_one_alone_is_computed_in_a_whole_pass_too_wherever_it_lies() -> None:
    desk = watched(4)
    for at in range(4):
        desk.add([at] * 10, SamplingParams(max_tokens=1))
    desk.run()
    for at in range(4):
        desk.answered.clear()
        request = desk.add((*[at] * 10, 5, 6), REPEATABLE)
        desk.run()
        desk.check_answer(request)
        assert {tuple(chunk.slot for chunk in batch) for batch, _ in desk.answered} == {
            (0, 1, 2) if at == 0 else (1, 2, 3)
        }
        assert {tuple(wanted(batch)) for batch, _ in desk.answered} == {(at,)}


def test_who_need_not_repeat_rides_along_between_them() -> None:
    desk = watched(3)
    for at, sampling in enumerate((REPEATABLE, SAMPLED, REPEATABLE)):
        desk.add((at, 2, 3, 4), sampling)
    desk.run()
    assert [0, 1, 2] in [wanted(batch) for batch, _ in desk.answered]


def test_who_need_not_repeat_and_is_elsewhere_is_computed_as_ever() -> None:
    desk = watched(5)
    for at, sampling in enumerate((REPEATABLE, SAMPLED, SAMPLED, SAMPLED, SAMPLED)):
        desk.add((at, 2, 3, 4), sampling)
    desk.run()
    last = [batch for batch, exact in desk.answered if not exact]
    assert [3, 4] in [wanted(batch) for batch in last]
    assert all(all(chunk.tokens for chunk in batch) for batch in last)


@settings(max_examples=150, deadline=None)
@given(
    jobs=st.lists(st.tuples(prompts, params), min_size=1, max_size=8),
    faults=st.sets(st.integers(0, 60), max_size=4),
)
def test_a_pass_that_fails_fails_whoever_has_a_slot_of_it(
    jobs: list[tuple[Prompt, SamplingParams]], faults: set[int]
) -> None:
    runner = FakeRunner(max_sequences=4, row_classes=ROWS, says=copied)
    runner.fail_on = lambda _batch: len(runner.batches) - 1 in faults
    desk = Desk(runner, StepCosts())
    for prompt, sampling in jobs:
        desk.add(prompt, sampling)
    desk.run()
    failed = [r for r in desk.asked if isinstance(desk.outputs[r][-1], Failed)]
    for request in desk.asked.keys() - set(failed):
        desk.check_answer(request)
    hit = [batch for at, batch in enumerate(runner.batches) if at in faults]
    least = sum(len(wanted(batch)) for batch in hit)
    assert least <= len(failed) <= sum(map(len, hit))
    assert not failed or all(not lane for lane in runner.lanes) or desk.engine.cache.num_free == 4


@pytest.mark.parametrize(("at_once", "guesses"), [(1, True), (4, False)])
def test_a_guess_has_to_be_worth_more_where_others_are_expected(
    at_once: int, guesses: bool
) -> None:
    """Four steps of one cost what one pass of all four does, and a guess has a pass of its own."""
    costs = StepCosts(((1, 1.0), (4, 1.0), (8, 3.0), (32, 13.0)))
    runner = FakeRunner(4, context_length=200, says=lambda rows: rows[-10] if len(rows) > 9 else 1)
    desk = Desk(runner, costs, at_once=at_once)
    request = desk.add(range(20), SamplingParams(max_tokens=60, temperature=0, ignore_eos=True))
    desk.run()
    desk.check_answer(request)
    drafted = sum(chunk.drafted for batch in runner.batches for chunk in batch)
    assert (drafted > 20) is guesses
