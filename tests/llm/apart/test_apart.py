"""A model that is shared with workers: it answers as ever, and outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest
from PIL import Image as Pillow

from mistral_small_edge.chat.deltas import Progress
from mistral_small_edge.chat.messages import ChatRequest, Message, TextRequest
from mistral_small_edge.chat.response_format import Choice, Regex
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import (
    ContextLengthExceeded,
    EdgeError,
    EngineStopped,
    InvalidGrammar,
    InvalidRequest,
    WorkerBusy,
    WorkerLost,
    WorkerTooSmall,
    WorkerUnreachable,
)
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from tests.llm.apart.lender import Lender
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mistral_small_edge.llm import Stream

PATIENCE = 60.0  # seconds
# Guesses would depend on what the machine was found to be worth at the time.
ALONE = EngineConfig(
    context_length=512, threads=1, max_sequences=2, repack="off", speculation="off"
)
SHORT = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
LONG = SamplingParams(temperature=0, max_tokens=400, ignore_eos=True)
SEEDED = SamplingParams(seed=7, max_tokens=20, top_logprobs=3)
HELLO = (Message("user", "Hello"),)


def sharing(*lenders: Lender) -> EngineConfig:
    return replace(ALONE, workers=tuple(str(lender.address) for lender in lenders))


def wait_until_back(llm: LLM) -> None:
    tick = threading.Event()
    for _ in range(round(PATIENCE / 0.05)):
        if llm.interruption is None:
            return
        tick.wait(0.05)
    raise TimeoutError(f"it is not back: {llm.interruption}")


def error_of(stream: Stream) -> EdgeError | None:
    """What ends an answer that is read to its end."""
    try:
        for _ in stream:
            pass
    except EdgeError as error:
        return error
    return None


def begin(llm: LLM, answers: int) -> list[Stream]:
    """Answers that are being computed, or wait for their turn."""
    streams = [llm.stream(ChatRequest(HELLO, LONG)) for _ in range(answers)]
    for stream in streams[: llm.max_sequences]:
        assert isinstance(next(stream), Progress)
    return streams


def engine_process() -> psutil.Process:
    """The one beside this one; the others lend."""
    children = psutil.Process().children()
    [found] = [
        child for child in children if "mistral_small_edge.llm.apart.child" in child.cmdline()
    ]
    return found


def errors_of(streams: Sequence[Stream]) -> list[EdgeError | None]:
    with ThreadPoolExecutor(len(streams)) as pool:
        return list(pool.map(error_of, streams, timeout=PATIENCE))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = TinyShape(layers=4, width=256, hidden=512)
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf", shape=shape)


@pytest.fixture(scope="module")
def lenders() -> Iterator[tuple[Lender, Lender]]:
    with Lender() as first, Lender() as second:
        yield first, second


@pytest.fixture
def llm(tiny: Path, lenders: tuple[Lender, Lender]) -> Iterator[LLM]:
    with LLM.load(tiny, sharing(*lenders)) as llm:
        yield llm


def test_what_is_computed_in_three_places_is_what_one_machine_computes(
    tiny: Path, llm: LLM
) -> None:
    assert len(llm.workers) == 2
    assert all(share.layers for share in llm.workers)
    requests = (
        ChatRequest(HELLO, SHORT),
        ChatRequest(HELLO, SEEDED),
        ChatRequest(HELLO, LONG, response_format=Regex("[a-z ]{200}")),
        TextRequest("Once upon a time", LONG),
    )
    with LLM.load(tiny, ALONE) as alone:
        assert llm.names == alone.names
        assert llm.encode("Hello") == alone.encode("Hello")
        for request in requests:
            here, there = alone.answer(request), llm.answer(request)
            assert (there.text, there.logprobs) == (here.text, here.logprobs)
            assert there.usage.completion_tokens == here.usage.completion_tokens


def test_pictures_are_seen_here_and_read_there(lenders: tuple[Lender, Lender]) -> None:
    picture = Pillow.new("RGB", (56, 56), "red")
    answers = []
    for config in (ALONE, sharing(*lenders)):
        with LLM.load("toy", config) as llm:
            assert llm.sees
            answers.append(llm.chat("What is this?", images=[picture], sampling=SEEDED))
    assert answers[1].text == answers[0].text
    assert answers[1].logprobs == answers[0].logprobs
    assert answers[1].usage.prompt_tokens == answers[0].usage.prompt_tokens


def test_what_cannot_be_asked_is_refused_at_once(llm: LLM) -> None:
    with pytest.raises(ContextLengthExceeded):
        llm.stream(TextRequest("word " * 600, SHORT))
    with pytest.raises(InvalidGrammar):
        llm.stream(ChatRequest(HELLO, SHORT, response_format=Regex("(a")))
    with pytest.raises(InvalidRequest, match="logit_bias names token"):
        llm.stream(ChatRequest(HELLO, SamplingParams(logit_bias={10**6: 1})))
    assert llm.interruption is None
    assert llm.chat("Hello", sampling=SHORT, response_format=Choice(("yes", "no"))).text in "yes no"


def test_an_answer_that_is_given_up_leaves_its_place_to_others(llm: LLM) -> None:
    given_up = begin(llm, 2)
    for stream in given_up:
        stream.close()
    assert llm.chat("Hello", sampling=SHORT).usage.completion_tokens == 12


def test_a_prefix_is_read_once(llm: LLM) -> None:
    first, second = (llm.answer(TextRequest("word " * 100, SHORT)) for _ in range(2))
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens > 90
    assert second.text == first.text


def test_workers_that_are_of_no_use_are_named(tiny: Path, lenders: tuple[Lender, Lender]) -> None:
    good = str(lenders[0].address)
    with Lender() as other:
        bad = str(other.address)
        config = replace(ALONE, workers=(good, bad))
        other.freeze()
        with pytest.raises(WorkerBusy, match=bad):
            LLM.load(tiny, config)
        other.kill()
        with pytest.raises(WorkerUnreachable, match=bad):
            LLM.load(tiny, config)
    with pytest.raises(WorkerUnreachable, match=r"a\.\.b"):
        LLM.load(tiny, replace(ALONE, workers=(good, "a..b")))
    with Lender(memory=1_000_000) as small, pytest.raises(WorkerTooSmall) as caught:
        LLM.load(tiny, replace(ALONE, workers=(good, str(small.address))))
    assert caught.value.worker == str(small.address)
    with pytest.raises(InvalidRequest, match="named twice"):
        LLM.load(tiny, replace(ALONE, workers=(good, good)))


def test_a_lost_worker_is_named_to_everybody_and_the_model_comes_back(
    tiny: Path, tmp_path: Path
) -> None:
    with Lender() as first, Lender() as second:
        config = replace(sharing(first, second), prompt_cache=tmp_path)
        with LLM.load(tiny, config) as llm:
            before = llm.answer(TextRequest("word " * 100, SHORT))
            streams = begin(llm, 4)
            second.kill()
            for error in errors_of(streams):
                assert isinstance(error, WorkerLost)
                assert error.worker == str(second.address)
            with pytest.raises(WorkerLost, match=str(second.address)):
                llm.stream(ChatRequest(HELLO, SHORT))
            assert llm.interruption is not None
            fingerprint, shares = llm.fingerprint, llm.workers
            second.start()
            wait_until_back(llm)
            after = llm.answer(TextRequest("word " * 100, SHORT))
            assert after.text == before.text
            assert (llm.fingerprint, llm.workers) == (fingerprint, shares)


def test_a_worker_that_hangs_is_given_up(tiny: Path) -> None:
    with (
        Lender() as lender,
        LLM.load(tiny, replace(sharing(lender), worker_timeout=1.0)) as llm,
    ):
        streams = begin(llm, 2)
        lender.freeze()
        for error in errors_of(streams):
            assert isinstance(error, WorkerLost)
            assert error.worker == str(lender.address)


def test_the_end_of_its_process_is_survived(llm: LLM) -> None:
    streams = begin(llm, 2)
    engine_process().kill()
    for error in errors_of(streams):
        assert isinstance(error, EngineStopped)
        assert "killed" in str(error)
    wait_until_back(llm)
    assert llm.chat("Hello", sampling=SHORT).usage.completion_tokens == 12


def test_who_is_told_to_stop_decides_when_its_process_does(llm: LLM) -> None:
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # to all of a terminal's or a service's processes
        engine_process().send_signal(number)
    assert llm.chat("Hello", sampling=SHORT).usage.completion_tokens == 12
    assert llm.interruption is None
    assert llm.peak_memory() > 10**8


def test_closing_ends_the_process_and_every_answer(
    tiny: Path, lenders: tuple[Lender, Lender]
) -> None:
    llm = LLM.load(tiny, sharing(*lenders))
    child = engine_process()
    streams = begin(llm, 3)
    llm.close()
    assert all(isinstance(error, EngineStopped) for error in errors_of(streams))
    assert not child.is_running()
    with pytest.raises(EngineStopped):
        llm.stream(ChatRequest(HELLO, SHORT))


def test_one_that_has_lost_its_worker_can_be_closed(tiny: Path) -> None:
    with Lender() as lender:
        llm = LLM.load(tiny, sharing(lender))
        lender.kill()
        with pytest.raises(WorkerLost):
            llm.chat("Hello", sampling=SHORT)
        llm.close()
    assert isinstance(llm.interruption, EngineStopped)


_LOAD_AND_SAY_SO = """
import sys
from mistral_small_edge import LLM, EngineConfig
llm = LLM.load(sys.argv[1], EngineConfig(context_length=512, threads=1, workers=(sys.argv[2],)))
print("loaded", flush=True)
sys.stdin.read()
"""


def test_nobodys_process_stays_behind(tiny: Path, lenders: tuple[Lender, Lender]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _LOAD_AND_SAY_SO, str(tiny), str(lenders[0].address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "loaded\n"
        [child] = psutil.Process(program.pid).children()
        os.kill(program.pid, signal.SIGKILL)
        child.wait(PATIENCE)
