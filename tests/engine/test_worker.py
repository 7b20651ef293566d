"""Streams across threads: every one ends, whatever happens to the others or to the engine."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.outputs import Finished, PromptProgress, TextOutput
from mistral_small_edge.engine.prefix_store import PrefixStore
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.engine.worker import OutputStream, Worker
from mistral_small_edge.errors import DecodeFailed, EngineStopped, InvalidRequest
from mistral_small_edge.sampling_params import SamplingParams
from tests.fakes import END, FakeRunner, FakeTokenizer, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 20  # seconds until a test gives a thread up


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner(max_sequences=4, context_length=4000)


@pytest.fixture
def worker(runner: FakeRunner) -> Iterator[Worker]:
    worker = Worker(Engine(runner, FakeTokenizer(), prefill_chunk=16))
    yield worker
    worker.close()


def read(stream: OutputStream) -> str:
    return "".join(output.text for output in stream if isinstance(output, TextOutput))


def test_two_hundred_requests_from_many_threads_each_get_their_own_answer(worker: Worker) -> None:
    prompts = [(n % 7, n % 3, *range(n % 40)) for n in range(200)]
    sampling = SamplingParams(max_tokens=30)

    def ask(prompt: tuple[int, ...]) -> str:
        return read(worker.submit(Prompt(prompt), sampling))

    with ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(ask, prompts, timeout=PATIENCE))
    assert texts == [bytes(t for t in answer(p, 30) if t != END).decode() for p in prompts]


def test_a_listener_is_told_and_takes_what_is_there(worker: Worker) -> None:
    stream = worker.submit(Prompt((1, 2)), SamplingParams(max_tokens=30))
    told = threading.Semaphore(0)
    stream.listen(told.release)
    text = ""
    while not stream.ended:
        assert told.acquire(timeout=PATIENCE)
        while outputs := stream.take():
            text += "".join(out.text for out in outputs if isinstance(out, TextOutput))
    assert text == bytes(t for t in answer((1, 2), 30) if t != END).decode()
    assert stream.take() == []


def test_an_error_is_taken_behind_all_else(worker: Worker, runner: FakeRunner) -> None:
    runner.fail_on = lambda batch: batch[0].start > 2
    stream = worker.submit(Prompt((1, 2)), SamplingParams(max_tokens=30, ignore_eos=True))
    told = threading.Semaphore(0)
    stream.listen(told.release)
    taken: list[object] = []

    def take_all() -> None:
        while not stream.ended:
            assert told.acquire(timeout=PATIENCE)
            while outputs := stream.take():
                taken.extend(outputs)

    with pytest.raises(DecodeFailed):
        take_all()
    assert any(isinstance(output, TextOutput) for output in taken)
    assert stream.ended


def test_closing_one_stream_leaves_the_others_alone(worker: Worker, runner: FakeRunner) -> None:
    endless = SamplingParams(ignore_eos=True)
    given_up = worker.submit(Prompt((1, 2, 3)), endless)
    other = worker.submit(Prompt((4, 5, 6)), SamplingParams(max_tokens=50, ignore_eos=True))
    next(given_up)
    given_up.close()
    given_up.close()
    assert list(given_up) == []
    *_, last = other
    assert isinstance(last, Finished)
    assert last.completion_tokens == 50


def test_closing_frees_the_slot_for_one_who_waits(runner: FakeRunner) -> None:
    runner.max_sequences = 1
    worker = Worker(Engine(runner, FakeTokenizer(), prefill_chunk=16))
    hog = worker.submit(Prompt((1, 2, 3)), SamplingParams(ignore_eos=True))
    waiting = worker.submit(Prompt((4, 5, 6)), SamplingParams(max_tokens=3, ignore_eos=True))
    hog.close()
    *_, last = waiting
    assert isinstance(last, Finished)
    assert last.completion_tokens == 3
    worker.close()


def test_a_crash_reaches_every_stream_and_every_later_one(runner: FakeRunner) -> None:
    both_in = threading.Event()

    def crash() -> None:
        assert both_in.wait(PATIENCE)
        raise RuntimeError("out of order")

    runner.before = crash
    worker = Worker(Engine(runner, FakeTokenizer(), prefill_chunk=16))
    streams = [worker.submit(Prompt((n,)), SamplingParams()) for n in range(6)]
    both_in.set()
    for stream in streams:
        with pytest.raises(EngineStopped, match="out of order"):
            read(stream)
    with pytest.raises(EngineStopped, match="out of order"):
        worker.submit(Prompt((1,)), SamplingParams())
    worker.close()


def test_closing_the_worker_ends_live_streams(worker: Worker) -> None:
    stream = worker.submit(Prompt((1, 2)), SamplingParams(ignore_eos=True))
    next(stream)
    worker.close()
    with pytest.raises(EngineStopped):
        read(stream)


def test_a_bad_request_is_refused_before_it_is_queued(worker: Worker) -> None:
    with pytest.raises(InvalidRequest):
        worker.submit(Prompt(()), SamplingParams())


def test_a_call_runs_in_the_engines_thread_between_batches(worker: Worker) -> None:
    running = worker.submit(Prompt((1, 2, 3)), SamplingParams(max_tokens=50, ignore_eos=True))
    next(running)
    assert worker.call(threading.current_thread).name == "engine"
    *_, last = running
    assert isinstance(last, Finished)


def test_what_a_call_raises_is_its_callers_alone(worker: Worker) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        worker.call(fail)
    assert read(worker.submit(Prompt((1, 2, 3)), SamplingParams(max_tokens=5)))


def test_a_call_that_waits_when_the_engine_stops_is_told(worker: Worker) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        let_go.wait(PATIENCE)

    with ThreadPoolExecutor(3) as pool:
        holding = pool.submit(worker.call, hold)
        assert entered.wait(PATIENCE)
        closing = pool.submit(worker.close)
        while worker._inbox.empty():  # until the order to stop is in
            assert not closing.done()
        waiting = pool.submit(worker.call, threading.current_thread)
        let_go.set()
        holding.result(PATIENCE)
        with pytest.raises(EngineStopped):
            waiting.result(PATIENCE)
    with pytest.raises(EngineStopped):
        worker.call(threading.current_thread)


def storing(
    folder: Path, runner: FakeRunner, *, idle_seconds: float = 0.01
) -> tuple[Worker, PrefixStore]:
    """A worker that keeps what it reads, and another view of where."""
    kept = PrefixStore(folder, "model")
    engine = Engine(runner, FakeTokenizer(), prefill_chunk=64, store=kept)
    return Worker(engine, idle_seconds=idle_seconds), kept


def files_once(folder: Path, count: int) -> list[Path]:
    """The files in a folder, once there are so many."""
    never = threading.Event()
    for _ in range(100 * PATIENCE):
        files = list(folder.glob("*.prefix"))
        if len(files) >= count:
            return files
        never.wait(0.01)
    raise AssertionError(f"{len(files)} files after {PATIENCE} seconds")


def test_an_idle_moment_is_used_to_keep_what_was_read(tmp_path: Path, runner: FakeRunner) -> None:
    worker, _ = storing(tmp_path, runner)
    sampling = SamplingParams(max_tokens=2, temperature=0)
    with ThreadPoolExecutor(2) as pool:
        for first in (1, 2):
            pool.submit(read, worker.submit(Prompt((first, *range(200))), sampling))
    assert len(files_once(tmp_path, 2)) == 2
    # Who is killed now has lost nothing: nobody was closed.
    later, _ = storing(tmp_path, FakeRunner(max_sequences=4, context_length=4000))
    *_, last = later.submit(Prompt((1, *range(200))), sampling)
    assert isinstance(last, Finished)
    assert last.cached_tokens == 200
    later.close()
    worker.close()


def test_what_was_read_of_a_prompt_that_was_given_up_is_kept_too(
    tmp_path: Path, runner: FakeRunner
) -> None:
    worker, _ = storing(tmp_path, runner)
    stream = worker.submit(Prompt((1, *range(200))), SamplingParams(ignore_eos=True))
    for output in stream:
        if isinstance(output, TextOutput):
            break
    stream.close()
    assert len(files_once(tmp_path, 1)) == 1
    worker.close()


def test_without_an_idle_moment_it_is_kept_at_the_end(tmp_path: Path, runner: FakeRunner) -> None:
    worker, kept = storing(tmp_path, runner, idle_seconds=PATIENCE)
    assert read(worker.submit(Prompt((1, *range(200))), SamplingParams(max_tokens=2))) is not None
    assert list(tmp_path.iterdir()) == []
    worker.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert not kept.is_writing


def test_closing_a_stream_ends_the_reading_of_it_elsewhere() -> None:
    started, held = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        held.wait(PATIENCE)

    worker = Worker(Engine(FakeRunner(before=wait), FakeTokenizer(), prefill_chunk=16))
    stream = worker.submit(Prompt((1, 2, 3)), SamplingParams())
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, stream)
        assert started.wait(PATIENCE)
        stream.close()
        outputs = reading.result(PATIENCE)
    held.set()
    worker.close()
    assert all(isinstance(output, PromptProgress) for output in outputs)


def test_what_is_said_of_an_end_does_not_grow_with_who_asks(worker: Worker) -> None:
    worker.close()
    lengths = []
    for _ in range(3):
        with pytest.raises(EngineStopped) as caught:
            worker.submit(Prompt((1,)), SamplingParams())
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1
