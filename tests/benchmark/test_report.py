"""The arithmetic over what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.benchmark import BenchmarkReport, Round
from mistral_small_edge.benchmark.report import percentile

ROUND = Round(
    prompt_tokens=5,
    prompt_rate=100.0,
    time_to_first_token=1.0,
    decode_rate=10.0,
    bare_decode_rate=20.0,
    gaps=(0.1, 0.3),
    bandwidth=40e9,
    step_bytes=2e9,
)


def report(*rounds: Round) -> BenchmarkReport:
    return BenchmarkReport(
        model="x", threads=1, rounds=rounds, mask_seconds=(3.0, 1.0, 2.0), peak_memory=0
    )


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1), (50, 5), (51, 6), (90, 9), (91, 10), (99, 10), (100, 10)]
)
def test_percentiles_of_ten(percent: int, expected: int) -> None:
    assert percentile([10, 3, 7, 1, 9, 2, 8, 4, 6, 5], percent) == expected


@given(st.lists(st.floats(0, 1), min_size=1), st.integers(1, 100))
def test_a_percentile_was_measured_and_so_many_do_not_exceed_it(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_a_step_that_takes_twice_as_long_as_reading_its_bytes_reaches_half() -> None:
    # 2 GB at 40 GB/s are 0.05 s, and a token took 0.1 s.
    assert ROUND.share_of_bound == pytest.approx(0.5)
    assert ROUND.share_of_bare == 0.5


def test_medians_are_of_pairs() -> None:
    rates = [(100.0, 50.0), (10.0, 10.0), (1.0, 4.0)]
    found = report(*(replace(ROUND, decode_rate=a, bare_decode_rate=b) for a, b in rates))
    assert found.decode_rate == 10.0
    assert found.share_of_bare == 1.0
    assert found.mask_time == 2.0
    speeds = [(100.0, 50e9), (10.0, 10e9), (1.0, 4e9)]
    found = report(*(replace(ROUND, decode_rate=a, bandwidth=b) for a, b in speeds))
    assert found.bandwidth == 10e9
    assert found.share_of_bound == pytest.approx(2.0)


def test_where_others_compute_this_machines_memory_is_not_the_bound() -> None:
    assert replace(report(ROUND), alone=False).share_of_bound is None


def test_gaps_of_all_rounds_are_taken_together() -> None:
    found = report(ROUND, replace(ROUND, gaps=(0.2, 0.4)))
    assert found.gaps == {50: 0.2, 90: 0.4, 99: 0.4}
    assert report(replace(ROUND, gaps=())).gaps == {}
