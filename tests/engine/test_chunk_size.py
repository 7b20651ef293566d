"""Chunks grow and shrink with the machine's speed, within their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.chunk_size import ALONE_SECONDS, ChunkSize
from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.outputs import Finished
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.sampling_params import SamplingParams
from tests.fakes import FakeRunner, FakeTokenizer


@pytest.mark.parametrize(
    ("rate", "size", "alone"),
    [(1000, 512, 512), (200, 128, 256), (10, 32, 128), (5, 32, 64), (0.1, 32, 32)],
)
def test_a_chunk_is_worth_about_the_target(rate: float, size: int, alone: int) -> None:
    chunk = ChunkSize(512, 16, 1.0)
    for _ in range(2):
        chunk.measured(chunk.size, chunk.size / rate)
        chunk.measured(chunk.alone, chunk.alone / rate)
    assert (chunk.size, chunk.alone) == (size, alone)


def test_a_short_rest_is_taken_along() -> None:
    chunk = ChunkSize(512, 16, 1.0)
    assert (chunk.size, chunk.alone) == (64, 64)
    assert [chunk.most(rows, alone=False) for rows in (1, 64, 96, 97)] == [96, 96, 96, 64]
    chunk.measured(64, 0.25)
    assert (chunk.size, chunk.alone) == (256, 256)
    for rows, most in ((384, 384), (385, 256)):
        assert chunk.most(rows, alone=True) == most
    chunk.measured(256, 0.25)
    assert [chunk.most(rows, alone=False) for rows in (512, 600)] == [512, 512]


def test_it_starts_small_and_a_short_chunk_says_nothing() -> None:
    chunk = ChunkSize(512, 16, 1.0)
    assert chunk.size == chunk.alone == 64
    chunk.measured(10, 100.0)
    assert chunk.size == chunk.alone == 64


@given(
    largest=st.integers(1, 4096),
    smallest=st.integers(1, 256),
    target=st.floats(0.1, 20),
    times=st.lists(st.floats(0, 1e4), max_size=20),
)
def test_the_bounds_hold(largest: int, smallest: int, target: float, times: list[float]) -> None:
    chunk = ChunkSize(largest, smallest, target)
    for seconds in times:
        rows = chunk.alone
        chunk.measured(rows, seconds)
        for size, most in ((chunk.size, target), (chunk.alone, max(target, ALONE_SECONDS))):
            assert chunk.smallest <= size <= max(largest, smallest)
            fits = size * seconds <= rows * most * 1.001
            assert fits or size < 2 * chunk.smallest
        assert chunk.size <= chunk.alone


@pytest.mark.parametrize(
    ("prefill_seconds", "before", "beside_others", "after"),
    [
        (1.0, [64, 256, 256, 228], [64, 32, 32, 32, 44], [256, 256, 292]),
        (15.0, [64, 256, 484], [204], [512, 292]),
    ],
)
def test_a_prompt_is_read_in_small_chunks_for_others_sake_only(
    prefill_seconds: float, before: list[int], beside_others: list[int], after: list[int]
) -> None:
    now = 0.0

    def tick() -> None:
        nonlocal now
        now += 2.0  # whatever is computed

    runner = FakeRunner(2, 2000, before=tick)
    engine = Engine(
        runner,
        FakeTokenizer(),
        prefill_chunk=512,
        prefill_seconds=prefill_seconds,
        clock=lambda: now,
    )

    def read(request: int, tokens: int) -> list[int]:
        """The chunks in which a prompt of so many tokens was read."""
        begun = len(runner.batches)
        engine.add(request, Prompt((request,) * tokens), SamplingParams(max_tokens=1))
        while not any(isinstance(output, Finished) for _, output in engine.step()):
            pass
        chunks = [chunk.tokens for batch in runner.batches[begun:] for chunk in batch]
        return [len(rows) for rows in chunks if rows[0] == request]

    assert read(1, 804) == before
    engine.add(2, Prompt((2,)), SamplingParams(ignore_eos=True))
    engine.step()
    assert read(3, 204) == beside_others
    engine.abort(2)
    assert read(4, 804) == after


def test_who_has_been_read_first_of_many_does_not_wait_for_all() -> None:
    now = 0.0

    def tick() -> None:
        nonlocal now
        now += 2.0

    runner = FakeRunner(5, 2000, before=tick)
    engine = Engine(runner, FakeTokenizer(), prefill_chunk=512, clock=lambda: now)
    forever = SamplingParams(ignore_eos=True, temperature=1, max_tokens=50)
    engine.add(0, Prompt((9,) * 804), SamplingParams(max_tokens=1))
    while engine.has_work:
        engine.step()
    read = len(runner.batches)
    for request in range(1, 6):
        engine.add(request, Prompt((request,) * 40), forever)
    for _ in range(20):
        engine.step()
    kinds = [len(batch[0].tokens) == 1 for batch in runner.batches[read:]]
    assert kinds[:6] == [False, True, False, True, False, True], "a prompt, and who is answered"
