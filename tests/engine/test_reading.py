"""Short prompts that come at the same time are read in one batch, and nobody's rows depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.engine.backend import RowClasses
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.passes import Passes
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import GATHERING, Desk, play, steps
from tests.fakes import FakeRunner, copied, next_token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.engine.test_engine import Script

ROWS = RowClasses(min_prefill_rows=3, max_repeatable_rows=2, multiple=2, shared_prompts=3)
# Whatever its rows, a batch takes as long as some sixty of them.
UNPACKING = StepCosts(((1, 1.0), (16, 5.0), (32, 6.0)))
NOTHING = StepCosts(((1, 1.0), (16, 16.0), (32, 32.0)))
ONE = SamplingParams(max_tokens=1)


def passes(costs: StepCosts, lane: int) -> Passes:
    return Passes(costs, 1e9, lane)


def read(
    prompts: Sequence[Sequence[int]],
    costs: StepCosts | None = UNPACKING,
    sampling: SamplingParams = ONE,
) -> list[list[tuple[int, int, int]]]:
    """Of each batch in which these were read the slots, tokens and rows of its chunks."""
    runner = FakeRunner(4, context_length=300, row_classes=ROWS, says=next_token)
    desk = Desk(runner, passes=None if costs is None else passes(costs, 300), chunk=512)
    requests = [desk.add(prompt, sampling) for prompt in prompts]
    desk.run()
    for request in requests:
        desk.check_answer(request)
    return [
        [(chunk.slot, len(chunk.tokens), len(chunk.tokens) + chunk.padding) for chunk in batch]
        for batch in runner.batches
    ]


def prompt(number: int, tokens: int) -> list[int]:
    return [number] * tokens


@settings(max_examples=300, deadline=None)
@given(
    script=st.lists(steps, max_size=60),
    slots=st.integers(1, 4),
    costs=st.sampled_from([None, StepCosts(((1, 1.0), (32, 1.0)))]),
    says=st.sampled_from([next_token, copied]),
    gathers=st.booleans(),
)
def test_any_schedule_gives_every_request_its_own_answer(
    script: Script,
    slots: int,
    costs: StepCosts | None,
    says: Callable[[Sequence[int]], int],
    gathers: bool,
) -> None:
    runner = FakeRunner(slots, row_classes=ROWS, says=says)
    desk = Desk(
        runner,
        costs,
        gathering=GATHERING if gathers else None,
        passes=passes(UNPACKING, runner.context_length),
        chunk=24,
    )
    play(desk, script)
    for batch in runner.batches:
        rows = [len(chunk.tokens) + chunk.padding for chunk in batch]
        assert len(set(rows)) == 1
        if rows[0] > 1 and len(batch) > 1:
            assert len(batch) <= ROWS.shared_prompts
            assert all(len(chunk.tokens) <= ROWS.repeatable(rows[0]) for chunk in batch)
            assert sum(rows) <= 24
            slots_of = [chunk.slot for chunk in batch]
            assert slots_of == list(range(slots_of[0], slots_of[0] + len(batch)))


@pytest.mark.parametrize("sampling", [ONE, SamplingParams(max_tokens=1, temperature=0)])
def test_short_prompts_share_a_batch_with_chunks_of_equal_length(sampling: SamplingParams) -> None:
    found = read([prompt(number, 11 + number) for number in range(3)], sampling=sampling)
    assert found == [[(0, 11, 14), (1, 12, 14), (2, 13, 14)]]


def test_no_more_share_than_come_out_as_they_do_alone() -> None:
    found = read([prompt(number, 12) for number in range(4)])
    assert sorted(map(len, found)) == [1, 3]


def test_a_long_prompt_is_read_by_itself() -> None:
    found = read([prompt(1, 14), prompt(2, 14), prompt(3, 40)])
    assert found == [[(0, 14, 14), (1, 14, 14)], [(2, 40, 40)]]


@pytest.mark.parametrize("costs", [None, NOTHING])
def test_prompts_are_read_alone_where_a_batch_takes_what_its_rows_do(
    costs: StepCosts | None,
) -> None:
    found = read([prompt(number, 11) for number in range(3)], costs)
    assert list(map(len, found)) == [1, 1, 1]


def test_what_prompts_begin_with_is_read_once() -> None:
    alike = [[*range(100, 130), number] for number in range(3)]
    found = read(alike)
    assert sum(tokens for batch in found for _, tokens, _ in batch) == 33
