"""A batch that nobody wants any more is given up in the middle, and no other one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.outputs import Finished
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.engine.worker import Worker
from mistral_small_edge.errors import EngineStopped
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import CHUNK, ROWS, Desk
from tests.engine.test_rereading import SEEDED, desk, turns
from tests.fakes import FakeRunner, FakeTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = tuple(number % 2 for number in range(40))
OTHER = tuple(number % 3 for number in range(30))
ENDLESS = SamplingParams(ignore_eos=True)
PATIENCE = 20  # seconds


def in_work(asked: Desk, act: Callable[[], None]) -> None:
    """Take steps until a batch is in work, and do `act` meanwhile."""
    done: list[bool] = []

    def meanwhile() -> None:
        if not done:
            done.append(True)
            act()

    asked.runner.before = meanwhile
    while not done:
        asked.step()


@pytest.mark.parametrize("steps", range(12))
def test_the_batch_of_a_request_that_is_given_up_ends(steps: int) -> None:
    asked = Desk(FakeRunner(2, 64, ROWS))
    given_up = asked.add(LONG, SEEDED)
    for _ in range(steps):
        asked.step()
    before = len(asked.runner.batches)
    in_work(asked, lambda: asked.engine.give_up((given_up,)))
    assert len(asked.runner.batches) == before
    asked.abort(given_up)
    other = asked.add((*LONG, 5), SEEDED)
    asked.run()
    asked.check_answer(other)
    # What had been read before is not lost.
    assert asked.end(other).cached_tokens >= min(CHUNK * (steps - 1), len(LONG)) - ROWS.shortest


def test_a_batch_that_is_for_others_is_finished() -> None:
    asked = Desk(FakeRunner(2, 64, ROWS))
    first, second = asked.add(LONG, ENDLESS), asked.add(OTHER, ENDLESS)
    asked.engine.give_up((first, second))  # nothing is in work yet
    in_work(asked, lambda: asked.engine.give_up((second,)))
    in_work(asked, lambda: asked.engine.give_up(()))
    while not (asked.text(first) and asked.text(second)):
        asked.step()
    in_work(asked, lambda: asked.engine.give_up((first,)))
    assert len(asked.runner.batches[-1]) == 2
    before = len(asked.runner.batches)
    in_work(asked, lambda: asked.engine.give_up((first, second)))
    assert len(asked.runner.batches) == before


def test_no_later_batch_is_interrupted() -> None:
    asked = Desk(FakeRunner(2, 64, ROWS))
    first = asked.add(LONG, SEEDED)
    in_work(asked, lambda: asked.engine.give_up((first,)))
    asked.engine.give_up((first,))
    asked.abort(first)
    second = asked.add(OTHER, SEEDED)
    asked.run()
    asked.check_answer(second)
    total = sum(len(chunk.tokens) for (chunk, *_) in asked.runner.batches)
    assert total == len(OTHER) + asked.end(second).completion_tokens - 1


def test_reading_in_an_idle_moment_is_given_up_and_may_go_on() -> None:
    asked = desk()
    list(turns(asked, 2, SEEDED))
    read = len(asked.runner.batches)
    asked.runner.before = lambda: asked.engine.give_up(())
    assert asked.engine.read_again()
    asked.check_books()
    assert len(asked.runner.batches) == read
    asked.runner.before = lambda: None
    assert asked.engine.read_again()
    asked.check_books()
    assert len(asked.runner.batches) == read + 1


def test_a_runner_without_rows_is_left_alone() -> None:
    asked = Desk(FakeRunner(2, 64, ROWS, keeps_rows=False))
    request = asked.add(LONG, SEEDED)
    in_work(asked, lambda: asked.engine.give_up((request,)))
    asked.run()
    asked.check_answer(request)


class Slow:
    """A worker whose batches end only when they are interrupted, once `hold` is set."""

    def __init__(self) -> None:
        self.runner = FakeRunner(2, 100, ROWS)
        self.in_work = threading.Event()
        self.hold = threading.Event()
        self.hold.set()
        self.runner.before = self._wait
        self.worker = Worker(Engine(self.runner, FakeTokenizer(), prefill_chunk=CHUNK))

    def _wait(self) -> None:
        if self.hold.is_set():
            self.in_work.set()
            assert self.runner.interrupted.wait(PATIENCE)


def test_closing_a_stream_ends_its_batch() -> None:
    slow = Slow()
    stream = slow.worker.submit(Prompt(LONG), SamplingParams())
    assert slow.in_work.wait(PATIENCE)
    slow.hold.clear()
    stream.close()
    other = slow.worker.submit(Prompt(OTHER), SamplingParams(max_tokens=3, ignore_eos=True))
    assert isinstance([*other][-1], Finished)
    slow.worker.close()


def test_closing_the_worker_ends_the_batch_in_work() -> None:
    slow = Slow()
    stream = slow.worker.submit(Prompt(LONG), SamplingParams())
    assert slow.in_work.wait(PATIENCE)
    slow.worker.close()
    with pytest.raises(EngineStopped):
        list(stream)
