"""Answers share passes: as many as leave their bits alone, and as few as take the least time."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.backend import RowClasses
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.passes import Passes
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import Desk
from tests.fakes import FakeRunner, copied

SAMPLED = SamplingParams(max_tokens=20, temperature=1, ignore_eos=True)
REPEATABLE = SamplingParams(max_tokens=20, temperature=0, ignore_eos=True)
SEVEN = RowClasses(min_prefill_rows=3, max_repeatable_rows=7)
# As K-quants are computed as they are in the file: another kernel begins at eight rows.
TILES = StepCosts(((1, 1.0), (2, 1.5), (4, 2.1), (7, 3.7), (8, 4.7), (32, 5.5)))


def sizes(passes: Passes | None, params: SamplingParams, answers: int) -> list[int]:
    """How many answers are computed at a time once all prompts have been read, until each has a token."""
    runner = FakeRunner(8, context_length=64, row_classes=SEVEN, says=copied)
    desk = Desk(runner, passes=passes)
    requests = [desk.add((at, 2, 3, 4), params) for at in range(answers)]
    desk.run()
    for request in requests:
        desk.check_answer(request)
    read = max(at for at, batch in enumerate(runner.batches) if batch[0].start == 0)
    found: list[int] = []
    for batch in runner.batches[read + 1 :]:
        if sum(found) < answers:
            found.append(len(batch))
    return found


@pytest.mark.parametrize("params", [SAMPLED, REPEATABLE])
def test_two_fours_take_less_than_seven_and_one_or_eight(params: SamplingParams) -> None:
    assert sizes(Passes(TILES, 1e9, lane=64), params, 8) == [4, 4]


def test_all_are_computed_at_once_where_that_takes_the_least() -> None:
    usual = Passes(StepCosts(), 1e9, lane=64)
    assert sizes(usual, SAMPLED, 8) == [8]
    assert sizes(usual, REPEATABLE, 7) == [7]


def test_no_more_than_repeat_where_nothing_is_known() -> None:
    assert sizes(None, REPEATABLE, 8) == [7, 1]
    assert sizes(None, SAMPLED, 8) == [8]


@given(st.lists(st.floats(1, 4), min_size=12, max_size=12), st.integers(0, 12), st.integers(1, 12))
def test_no_other_way_to_share_rows_out_takes_less(
    costs: list[float], rows: int, most: int
) -> None:
    known = StepCosts(((1, 1.0), *enumerate(costs, start=2)))
    parts = known.parts(rows, most)
    assert sum(parts) == rows
    assert list(parts) == sorted(parts, reverse=True)
    assert all(1 <= part <= most for part in parts)

    @cache
    def least(left: int) -> float:
        widths = range(1, min(most, left) + 1)
        return min((known.of(one) + least(left - one) for one in widths), default=0.0)

    assert known.total(parts) == pytest.approx(least(rows))


def test_as_few_parts_as_take_no_longer() -> None:
    even = StepCosts(((1, 1.0), (2, 2.0), (4, 4.0)))
    assert even.parts(4, 4) == (4,)
    assert even.parts(0, 4) == ()
