"""Where kernels take several rows at once: no row that must repeat is left over to another kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.engine.backend import RowClasses
from mistral_small_edge.engine.sequence import SequenceStatus
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import Desk, Script, play, schedules
from tests.fakes import FakeRunner, next_token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_small_edge.engine.calibration import StepCosts

ROWS = RowClasses(min_prefill_rows=6, max_repeatable_rows=2, multiple=3)
SEEDED = SamplingParams(max_tokens=10, seed=7)
DRAWN = SamplingParams(max_tokens=10, temperature=1)


class ClassDesk(Desk):
    """Checks after every step, of each request that must repeat, the class of its prompt's rows."""

    def check_books(self) -> None:
        super().check_books()
        for sequence in self.engine.scheduler.live:
            if sequence.status is SequenceStatus.DECODE and sequence.params.repeatable:
                prompt = sequence.prompt
                border = max(start for start in prompt.starts if start < len(prompt))
                for row in range(len(prompt)):
                    start, rows = self.runner.shapes[sequence.slot][row]
                    assert rows >= ROWS.min_prefill_rows or self.is_full(len(prompt))
                    left_over = row - start >= rows - rows % ROWS.multiple
                    # Where a lane ends, those are that would be if nothing had been there before.
                    last = len(prompt) - (len(prompt) - border) % ROWS.multiple
                    assert not left_over or (self.is_full(len(prompt)) and row >= last)

    def is_full(self, length: int) -> bool:
        return length - 1 + ROWS.min_prefill_rows > self.runner.context_length


def desk(slots: int = 1, context: int = 100) -> ClassDesk:
    return ClassDesk(FakeRunner(slots, context, ROWS))


@settings(max_examples=300, deadline=None)
@schedules
def test_in_any_schedule_no_row_that_must_repeat_is_left_over(
    script: Script,
    slots: int,
    costs: StepCosts | None,
    says: Callable[[Sequence[int]], int],
) -> None:
    asked = ClassDesk(FakeRunner(slots, row_classes=ROWS, says=says), costs)
    play(asked, script)


@given(
    remaining=st.integers(1, 300),
    most=st.integers(12, 64),
    shortest=st.sampled_from([3, 6]),
    multiple=st.sampled_from([1, 3]),
)
def test_a_prompt_is_cut_so_that_every_part_can_be_of_the_class(
    remaining: int, most: int, shortest: int, multiple: int
) -> None:
    classes = RowClasses(shortest, multiple=multiple)
    while remaining:
        rows = classes.cut(remaining, most)
        assert 0 < rows <= classes.filled(rows) <= most
        remaining -= rows
        if remaining:
            assert classes.repeatable(rows) == rows
            assert remaining >= shortest


@pytest.mark.parametrize(
    ("rows", "filled", "repeatable"), [(1, 6, 0), (5, 6, 0), (6, 6, 6), (7, 9, 6), (9, 9, 9)]
)
def test_what_is_filled_up_and_what_is_left_over(rows: int, filled: int, repeatable: int) -> None:
    assert ROWS.filled(rows) == filled
    assert ROWS.repeatable(rows) == repeatable


def test_of_a_prompt_that_was_not_filled_up_all_but_what_was_left_over_is_reused() -> None:
    asked = desk()
    asked.add(tuple(range(20)), DRAWN)
    asked.run()
    again = asked.add((*range(20), 50, 51), SEEDED)
    asked.run()
    assert asked.end(again).cached_tokens == 18


def test_of_one_that_was_all_is_reused() -> None:
    asked = desk()
    asked.add(tuple(range(20)), SEEDED)
    asked.run()
    again = asked.add((*range(20), 50, 51), SEEDED)
    asked.run()
    assert asked.end(again).cached_tokens == 20


@pytest.mark.parametrize("cached", [0, 13, 14, 15])
def test_where_a_lane_ends_the_same_rows_are_left_over_whatever_was_there(cached: int) -> None:
    asked = desk(context=32)
    if cached:
        asked.add(tuple(range(cached)), SEEDED)
        asked.run()
    last = asked.add(tuple(range(31)), SEEDED)
    asked.run()
    assert asked.end(last).cached_tokens == cached // 3 * 3


def test_what_is_read_again_leaves_nothing_over() -> None:
    runner = FakeRunner(1, 100, ROWS, says=lambda rows: ord("a") + next_token(rows) % 26)
    asked = ClassDesk(runner)
    prompt: Sequence[int] = tuple(range(4))
    for turn in range(4):
        request = asked.add(prompt, SamplingParams(max_tokens=9, seed=7))
        asked.run()
        if turn > 1:  # six of the eight rows of the last answer
            assert asked.end(request).cached_tokens == len(prompt) - 5
        prompt = (*prompt, *asked.text(request).encode(), 0, 1)
        while asked.engine.read_again():
            asked.check_books()
