"""What a model says to workers for each token that it reads and writes.

The same question is asked twice behind the same prompt, for one token and for more: all that is not
the writing is the same in both, and goes out in the difference.
"""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import TextRequest
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.wire.tap import Tap, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mistral_small_edge.chat.deltas import Usage

WRITTEN = 32  # tokens: a graph is sent anew every 256
_LENDS = re.compile(r"(\S+):(\d+)  lends ")
_WORKER = (sys.executable, "-P", "-m", "mistral_small_edge", "worker", "--port", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What passes between the main machine and each worker, in the mean of all workers.

    Attributes:
        workers: how many.
        flash_attention: whether attention is computed in tiles.
        depth: tokens in the context.
        read: a token of the prompt.
        written: a token of the answer.
    """

    workers: int
    flash_attention: bool
    depth: int
    read: Traffic
    written: Traffic


class WorkerSilent(Exception):
    """A worker ended before it listened; `said` is what it had to say."""

    def __init__(self, said: str) -> None:
        super().__init__(f"a worker has ended: {said.strip()}")


def measure(
    model: Path, workers: int, depths: Sequence[int], threads: int, flash_attention: bool
) -> Iterator[Cost]:
    """Share a model with workers on this machine, and count.

    Raises:
        EdgeError: it cannot be loaded.
        WorkerSilent: a worker cannot be had.
    """
    with ExitStack() as held:
        taps = [held.enter_context(_tapped_worker(threads)) for _ in range(workers)]
        config = EngineConfig(
            context_length=max(depths) + 2 * WRITTEN,
            threads=threads,
            flash_attention="on" if flash_attention else "off",
            speculation="off",
            repack="off",
            vision=False,
            prompt_memory=0,  # keeping prompts fetches them from the workers
            workers=tuple(tap.address for tap in taps),
        )
        llm = held.enter_context(LLM.load(model, config))
        counted = _Counted(llm, taps)
        for depth in depths:
            prompt = _prompt(llm, depth)
            usage, all_read = counted.asked(prompt, 1)
            counted.asked(prompt, 1 + WRITTEN)  # from now on the same part of it is read again
            _, read_again = counted.asked(prompt, 1)
            _, and_written = counted.asked(prompt, 1 + WRITTEN)
            yield Cost(
                workers=workers,
                flash_attention=flash_attention,
                depth=usage.prompt_tokens,
                read=all_read / (usage.prompt_tokens - usage.cached_tokens),
                written=(and_written - read_again) / WRITTEN,
            )


class _Counted:
    """A model, and the taps to its workers."""

    def __init__(self, llm: LLM, taps: Sequence[Tap]) -> None:
        self._llm = llm
        self._taps = taps

    def asked(self, prompt: str, tokens: int) -> tuple[Usage, Traffic]:
        """Have it go on by so many tokens; what passed meanwhile, of one worker."""
        before = self._passed()
        params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
        answer = self._llm.answer(TextRequest(prompt, params))
        return answer.usage, (self._passed() - before) / len(self._taps)

    def _passed(self) -> Traffic:
        return reduce(add, (tap.traffic for tap in self._taps))


def _prompt(llm: LLM, tokens: int) -> str:
    """A text of about so many tokens, and of a beginning that no other has."""
    words = f"{tokens} things: "
    while len(llm.encode(words)) < tokens:
        missing = tokens - len(llm.encode(words))
        words += "one and " * max(1, missing // 8)
    return words


@contextmanager
def _tapped_worker(threads: int) -> Iterator[Tap]:
    command = (*_WORKER, "--threads", str(threads))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - ourselves
        try:
            assert process.stderr is not None  # noqa: S101 - it was asked for
            line = process.stderr.readline()
            listening = _LENDS.match(line)
            if listening is None:
                process.kill()
                raise WorkerSilent(line + process.stderr.read())
            with Tap(listening[1], int(listening[2])) as tap:
                yield tap
        finally:
            process.terminate()
