"""A real model's rows: what is saved of one slot goes on in another to the last bit."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mistral_small_edge.engine.backend import Chunk, Interrupted
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.sampler import Sampler
from mistral_small_edge.llama.model import ModelOptions, load_model
from mistral_small_edge.llama.runner import LlamaRunner
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.store.catalog import resolve
from tests.model.config import GPU_LAYERS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.model

PROMPT = tuple(range(500, 540))
OTHER = tuple(range(900, 960))

listens = pytest.mark.skipif(GPU_LAYERS > 0, reason="not every accelerator can be interrupted")


@pytest.fixture(params=[False, True], ids=["plain attention", "flash attention"])
def runner(request: pytest.FixtureRequest) -> Iterator[LlamaRunner]:
    options = ModelOptions(
        context_length=256,
        max_sequences=3,
        prefill_chunk=64,
        threads=1,
        gpu_layers=GPU_LAYERS,
        kv_type="f16",
        flash_attention=request.param,
        mlock=False,
    )
    with closing(load_model(resolve("demo").path, options)) as model:
        yield LlamaRunner(model, options)


def read(runner: LlamaRunner, slot: int, start: int, tokens: tuple[int, ...]) -> bytes:
    """The logits behind `tokens`."""
    (row,) = runner.run((Chunk(slot, start, tokens, sample=True),))
    return runner.logits(row).tobytes()


def write(runner: LlamaRunner, slot: int, start: int) -> list[bytes]:
    return [read(runner, slot, start + at, (600 + at,)) for at in range(3)]


def test_a_row_that_a_slot_lends_is_forgotten(runner: LlamaRunner) -> None:
    for slot in (0, 2):
        read(runner, slot, 0, PROMPT)
    read(runner, 1, 0, OTHER)
    held = bytes(runner.save(1))
    answers = [Chunk(slot, len(PROMPT), (600,), sample=True) for slot in (0, 2)]
    lent = Chunk(1, len(OTHER), (), sample=False, padding=1)
    rows = runner.run((answers[0], lent, answers[1]))
    first, second = (runner.logits(row).copy() for row in rows)
    assert (first == second).all()
    assert bytes(runner.save(1)) == held
    runner.truncate(0, len(PROMPT))
    (row,) = runner.run((answers[0],))
    assert np.allclose(runner.logits(row), first, atol=0.1)
    assert runner.logits(row).argmax() == first.argmax()


def test_prompts_that_share_a_batch_go_on_as_those_read_alone(runner: LlamaRunner) -> None:
    if runner.splits_context or GPU_LAYERS:
        pytest.skip("such kernels mind who else is there: there are no such batches")
    prompts = {0: PROMPT[:32], 1: OTHER[:25]}
    chunks = [
        Chunk(slot, 0, tokens, sample=True, padding=32 - len(tokens))
        for slot, tokens in prompts.items()
    ]

    def answered(*batches: list[Chunk]) -> list[bytes]:
        found = []
        for batch in batches:
            found += [runner.logits(row).tobytes() for row in runner.run(tuple(batch))]
        for slot, tokens in prompts.items():
            found += write(runner, slot, len(tokens))
            runner.truncate(slot, 0)
        return found

    assert answered(chunks) == answered(chunks[:1], chunks[1:])


def test_two_slots_change_places(runner: LlamaRunner) -> None:
    length = len(PROMPT)
    read(runner, 0, 0, PROMPT)
    write(runner, 0, length)
    read(runner, 2, 0, OTHER)
    first, second = runner.save(0), runner.save(2)
    stayed = write(runner, 0, length + 3), write(runner, 2, len(OTHER))
    runner.restore(2, first, length + 3)
    runner.restore(0, second, len(OTHER))
    assert write(runner, 2, length + 3) == stayed[0]
    assert write(runner, 0, len(OTHER)) == stayed[1]
    assert stayed[0] != stayed[1]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0),
        SamplingParams(temperature=1, seed=3, top_p=0.9),
        SamplingParams(temperature=0.7, seed=5, top_k=20, logit_bias={7: 9.0}, top_logprobs=3),
        SamplingParams(seed=6, min_p=0.1, repeat_penalty=1.2, presence_penalty=1),
    ],
)
def test_logits_that_were_copied_give_the_same_tokens(
    runner: LlamaRunner, params: SamplingParams
) -> None:
    (row,) = runner.run((Chunk(0, 0, PROMPT, sample=True),))
    logits = runner.logits(row)
    copied = logits.copy()
    at_once, later = (Sampler(len(logits), params, PROMPT) for _ in range(2))
    expected = [at_once.sample(logits) for _ in range(4)]
    assert np.array_equal(logits, copied), "a sampler only reads"
    read(runner, 1, 0, OTHER)
    assert [later.sample(copied) for _ in range(4)] == expected


@listens
def test_an_interrupted_batch_leaves_what_was_there(runner: LlamaRunner) -> None:
    half, length = len(OTHER) // 2, len(OTHER)
    read(runner, 1, 0, OTHER[:half])
    expected = read(runner, 1, half, OTHER[half:])
    read(runner, 0, 0, OTHER[:half])
    runner.interrupt()
    with pytest.raises(Interrupted):
        read(runner, 0, half, OTHER[half:])
    runner.go_on()
    assert read(runner, 0, half, OTHER[half:]) == expected
    assert write(runner, 0, length) == write(runner, 1, length)


@listens
def test_a_batch_is_interrupted_while_it_is_computed(runner: LlamaRunner) -> None:
    read(runner, 0, 0, PROMPT)
    expected = write(runner, 0, len(PROMPT))
    somebody = threading.Timer(0.01, runner.interrupt)
    somebody.start()
    with pytest.raises(Interrupted):
        read(runner, 2, 0, tuple(range(64)))
    somebody.join()
    runner.go_on()
    runner.truncate(0, len(PROMPT))
    assert write(runner, 0, len(PROMPT)) == expected


@dataclass
class Clock:
    """Goes on by `tick` seconds each time that it is looked at."""

    tick: float
    now: float = 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@listens
def test_a_step_that_takes_too_long_is_computed_by_others(
    runner: LlamaRunner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "mistral_small_edge.llama")
    length = len(PROMPT)
    read(runner, 0, 0, PROMPT)
    alone = write(runner, 0, length)
    clock = Clock(1e-6)
    runner.adapt_threads(2, StepCosts(), clock)
    runner.truncate(0, length)
    assert write(runner, 0, length) == alone  # the usual team is very fast
    clock.tick = 1.0  # the one that is tried now is not
    runner.truncate(0, length)
    assert write(runner, 0, length) == alone
    told = [line for line in caplog.records if "failed to decode, ret = 2" in line.getMessage()]
    assert told, "nothing took too long"
    assert {line.levelno for line in told} == {logging.DEBUG}, "it was wanted"
