"""Chunks grow and shrink with the machine's speed, within their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.chunk_size import TARGET_SECONDS, ChunkSize


@pytest.mark.parametrize(("rate", "size"), [(1000, 512), (200, 128), (20, 32), (5, 32), (0.1, 32)])
def test_a_chunk_is_worth_about_the_target(rate: float, size: int) -> None:
    chunk = ChunkSize(512, 16)
    for _ in range(2):
        chunk.measured(chunk.size, chunk.size / rate)
    assert chunk.size == size


def test_it_starts_small_and_a_short_chunk_says_nothing() -> None:
    chunk = ChunkSize(512, 16)
    assert chunk.size == 64
    chunk.measured(10, 100.0)
    assert chunk.size == 64


@given(
    largest=st.integers(1, 4096),
    smallest=st.integers(1, 256),
    times=st.lists(st.floats(0, 1e4), max_size=20),
)
def test_the_bounds_hold(largest: int, smallest: int, times: list[float]) -> None:
    chunk = ChunkSize(largest, smallest)
    for seconds in times:
        rows = chunk.size
        chunk.measured(rows, seconds)
        assert chunk.smallest <= chunk.size <= max(largest, smallest)
        fits = chunk.size * seconds <= rows * TARGET_SECONDS
        assert fits or chunk.size < 2 * chunk.smallest
