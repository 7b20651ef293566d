"""What a conversation that must repeat was answered is read while nobody asks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.engine.backend import Batch, RowClasses
from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.engine.worker import Worker
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import CHUNK, ROWS, Desk
from tests.fakes import FakeRunner, FakeTokenizer, answer, next_token, picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SEEDED = SamplingParams(max_tokens=10, seed=7)
DRAWN = SamplingParams(max_tokens=10, temperature=1)
FIRST = (1, 0, 1, 1)
PATIENCE = 20  # seconds


def endless(rows: Sequence[int]) -> int:
    """A model that always has something to add."""
    return ord("a") + next_token(rows) % 26


def desk(slots: int = 2, rows: RowClasses = ROWS, *, keeps_rows: bool = True) -> Desk:
    return Desk(FakeRunner(slots, 100, rows, keeps_rows, says=endless))


def turns(asked: Desk, count: int, sampling: SamplingParams) -> Iterator[tuple[int, int]]:
    """Go on with a conversation turn by turn: each request, and how much of it was there before."""
    prompt: Sequence[int] = FIRST
    for _ in range(count):
        request = asked.add(prompt, sampling)
        asked.run()
        asked.check_answer(request)
        before = len(prompt)
        prompt = (*prompt, *asked.text(request).encode(), 2, 3, 2)
        yield request, before


def read_all(asked: Desk) -> int:
    """Idle for as long as there is something to read; in how many steps."""
    steps = 0
    while asked.engine.read_again():
        asked.check_books()
        steps += 1
    return steps


def going_on(asked: Desk, sampling: SamplingParams, *, idle: bool = True) -> list[int]:
    """For each of four turns, how many of its tokens had to be computed."""
    computed = []
    for request, _ in turns(asked, 4, sampling):
        computed.append(len(asked.asked[request][0]) - asked.end(request).cached_tokens)
        if idle:
            read_all(asked)
    return computed


def test_what_was_written_need_not_be_read_by_the_next_turn() -> None:
    # An answer of ten tokens has nine rows, and three tokens are asked behind it.
    assert going_on(desk(), SEEDED) == [4, 13, 4, 4]
    assert going_on(desk(), SEEDED, idle=False) == [4, 13, 13, 13]


def test_what_need_not_repeat_is_left_as_it_was_written() -> None:
    asked = desk()
    assert going_on(asked, DRAWN) == [4, 4, 4, 4]
    assert read_all(asked) == 0


def test_a_question_that_nobody_goes_on_from_is_left() -> None:
    asked = desk()
    for prompt in (FIRST, (0, 0, 5), FIRST, (*FIRST, 9, 9)):
        asked.add(prompt, SEEDED)
        asked.run()
        assert read_all(asked) == 0


def test_whoever_comes_in_between_finds_what_was_read() -> None:
    asked = desk(slots=1)
    (_, _), (request, before) = turns(asked, 2, SEEDED)
    assert asked.engine.read_again()
    asked.check_books()
    prompt = (*asked.asked[request][0].tokens, *asked.text(request).encode(), 5)
    third = asked.add(prompt, SEEDED)
    asked.run()
    asked.check_answer(third)
    assert before < asked.end(third).cached_tokens < len(prompt) - 2


@pytest.mark.parametrize("border", [3, 4, 5])
def test_every_chunk_is_of_the_class(border: int) -> None:
    asked = desk(rows=RowClasses(border, 2))
    for _ in turns(asked, 3, SEEDED):
        before = len(asked.runner.batches)
        steps = read_all(asked)
        read = [chunk for (chunk,) in asked.runner.batches[before:]]
        assert len(read) == steps
        assert all(len(chunk.tokens) >= border for chunk in read)


def test_a_slot_that_is_in_use_is_left_alone() -> None:
    asked = desk(slots=1)
    list(turns(asked, 2, SEEDED))
    asked.add((*FIRST, 8), SEEDED)
    asked.step()
    assert not asked.engine.read_again()


def test_pictures_are_not_read_as_words() -> None:
    asked = desk()
    shown = picture(1, 1, 6)
    scored = SamplingParams(max_tokens=10, seed=7)
    prompt = Prompt((5, *[9] * 6, 8), (shown,))
    asked.add(prompt, DRAWN)
    asked.run()
    text = asked.text(0).encode()
    asked.add(Prompt((*prompt.tokens, *text, 2), (shown,)), scored)
    asked.run()
    read_all(asked)
    for batch in asked.runner.batches:
        assert all(min(chunk.tokens) >= 0 for chunk in batch if chunk.vectors is None)


def test_what_cannot_be_read_is_forgotten_and_nothing_else() -> None:
    asked = desk()
    (_, _), (request, _) = turns(asked, 2, SEEDED)
    asked.runner.fail_on = lambda _batch: True
    assert asked.engine.read_again()
    asked.runner.fail_on = lambda _batch: False
    assert not asked.engine.read_again()
    asked.check_books()
    again = asked.add(asked.asked[request][0], SEEDED)
    asked.run()
    asked.check_answer(again)


def test_a_runner_without_rows_has_nothing_to_read_again() -> None:
    asked = desk(keeps_rows=False)
    list(turns(asked, 3, SEEDED))
    assert read_all(asked) == 0


def test_an_idle_moment_is_used() -> None:
    runner = FakeRunner(context_length=100, row_classes=ROWS, says=endless)
    read = threading.Event()
    worker = Worker(Engine(runner, FakeTokenizer(), prefill_chunk=CHUNK), idle_seconds=0.01)
    try:
        prompt: Sequence[int] = FIRST
        for _ in range(2):
            for _ in worker.submit(Prompt(tuple(prompt)), SEEDED):
                pass
            prompt = (*prompt, *answer(prompt, 10, endless), 2)
        lane = len(prompt) - 2

        def watch(_batch: Batch) -> bool:
            if len(runner.lanes[0]) + len(_batch[0].tokens) == lane:
                read.set()
            return False

        runner.fail_on = watch
        assert read.wait(PATIENCE)
    finally:
        worker.close()
