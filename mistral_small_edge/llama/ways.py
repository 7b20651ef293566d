"""Whether weights are better laid out anew for this processor's kernels, or left as the file has them.

Laid out anew they have kernels of their own, which are faster on some processors and slower on
others, and they stand in memory of their own beside the file's. One layer tells.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from mistral_small_edge.engine.backend import Chunk
from mistral_small_edge.errors import EdgeError
from mistral_small_edge.llama.model import ModelOptions, load_model
from mistral_small_edge.llama.runner import LlamaRunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PROMPT = 128  # rows read
_ANSWER = 8  # rows written
_TRIES = 4  # of each layout, in turn; the fastest counts
# Tokens read for one that is written, about, in conversations that reuse what they have read.
_READ_A_WRITTEN = 2.0
# Less is not worth the memory: what is left in place is the file's own pages.
_GAIN = 1.03


@dataclass(frozen=True, slots=True)
class Packing:
    """What was found: whether to lay weights out anew."""

    repack: bool

    def as_json(self) -> Any:
        """A form that `from_json` reads."""
        return self.repack

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave.

        Raises:
            TypeError: it is something else.
        """
        if not isinstance(value, bool):
            raise TypeError(f"{value!r} is neither true nor false")
        return cls(value)


USUAL = Packing(repack=True)  # llama.cpp's own choice


def try_packing(
    layer: Path, options: ModelOptions, on_progress: Callable[[float], None] | None = None
) -> Packing:
    """Try both with a model of one layer.

    Args:
        options: how the whole model will be computed.
        on_progress: called with 0..1; what it raises ends the trial.
    """
    small = replace(
        options,
        context_length=2 * _PROMPT,
        max_sequences=1,
        prefill_chunk=_PROMPT,
        mlock=False,
    )
    fastest = {True: float("inf"), False: float("inf")}
    with ExitStack() as stack:
        runners = {}
        for repack in fastest:
            chosen = replace(small, repack=repack)
            try:
                model = stack.enter_context(closing(load_model(layer, chosen)))
            except EdgeError:
                return USUAL
            runners[repack] = LlamaRunner(model, chosen)
        for number in range(_TRIES):
            for repack, runner in runners.items():
                if on_progress is not None:
                    on_progress(number / _TRIES)
                fastest[repack] = min(fastest[repack], _seconds_a_token(runner))
    return Packing(repack=fastest[False] > _GAIN * fastest[True])


def _seconds_a_token(runner: LlamaRunner) -> float:
    """For a token of an answer, and those that are read for it."""
    runner.truncate(0, 0)
    begun = time.perf_counter()
    runner.run((Chunk(0, 0, tuple(range(_PROMPT)), sample=True),))
    read = time.perf_counter()
    for row in range(_ANSWER):
        runner.run((Chunk(0, _PROMPT + row, (row,), sample=True),))
    written = time.perf_counter()
    return _READ_A_WRITTEN * (read - begun) / _PROMPT + (written - read) / _ANSWER
