"""Which of two ways of computing is faster here, found by trying both in turn on a small model.

Weights laid out anew have kernels of their own, which are faster on some processors and slower on
others, and they stand in memory of their own beside the file's. Flash attention saves steps of
their own for every layer, which is much where layers are small, and nothing where they are large.
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

_PROMPT = 128  # rows read, about as many as a chunk has on a slow machine
_ANSWER = 8  # rows written
# Each way is tried so often, in turn, and the fastest counts, as neighbours only slow it down; the gain
# has to show in every session, so that none of theirs is taken for it.
_SESSIONS, _TRIES = 2, 2
_MOST_SECONDS = 12.0
# Tokens read for one that is written, about, in conversations that reuse what they have read.
_READ_A_WRITTEN = 2.0
# Less is not worth the memory: what is left in place is the file's own pages.
_GAIN_OF_PACKING = 1.03
# Less is not worth the rounding: with it a short chunk has to be filled up to repeat.
_GAIN_OF_FLASH = 1.07


@dataclass(frozen=True, slots=True)
class _Choice:
    """Whether the way that costs something is worth it."""

    chosen: bool

    def as_json(self) -> Any:
        """A form that `from_json` reads."""
        return self.chosen

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave.

        Raises:
            TypeError: it is something else.
        """
        if not isinstance(value, bool):
            raise TypeError(f"{value!r} is neither true nor false")
        return cls(value)


class Packing(_Choice):
    """Whether to lay weights out anew; llama.cpp's own choice is to do it."""


class Attention(_Choice):
    """Whether to compute attention by tiles."""


def try_packing(
    layer: Path, options: ModelOptions, on_progress: Callable[[float], None] | None = None
) -> Packing | None:
    """Try both layouts with a model of one layer; None if that tells nothing.

    Args:
        options: how the whole model will be computed.
        on_progress: called with 0..1; what it raises ends the trial.
    """
    # A model's last layer computes little more than attention for rows whose logits nobody wants.
    whole = replace(options, scored_rows=_PROMPT)
    anew, left = (replace(whole, repack=repack) for repack in (True, False))
    gain = _gain(layer, anew, left, on_progress)
    return None if gain is None else Packing(gain > _GAIN_OF_PACKING)


def try_attention(
    model: Path, options: ModelOptions, on_progress: Callable[[float], None] | None = None
) -> Attention | None:
    """Try attention by tiles and without, with a model that is small or has one layer.

    Args:
        as for `try_packing`.
    """
    tiled, whole = (replace(options, flash_attention=flash) for flash in (True, False))
    gain = _gain(model, tiled, whole, on_progress)
    return None if gain is None else Attention(gain > _GAIN_OF_FLASH)


def _gain(
    path: Path,
    one: ModelOptions,
    other: ModelOptions,
    on_progress: Callable[[float], None] | None,
) -> float | None:
    """How many times as long the other way takes at least.

    None if the file cannot be computed so, or so slowly that others must be at work here.
    """
    with ExitStack() as stack:
        score = one.scored_rows >= _PROMPT
        try:
            runners = [_runner(stack, path, options) for options in (one, other)]
        except EdgeError:
            return None
        times: list[list[float]] = []
        deadline = time.perf_counter() + _MOST_SECONDS
        for number in range(_SESSIONS * _TRIES):
            if on_progress is not None:
                on_progress(number / (_SESSIONS * _TRIES))
            pair = [_seconds_a_token(runner, deadline, score=score) for runner in runners]
            if time.perf_counter() > deadline:
                break
            times.append(pair)
    sessions = (times[at : at + _TRIES] for at in range(0, len(times), _TRIES))
    return min((_gain_in(session) for session in sessions), default=None)


def _gain_in(session: list[list[float]]) -> float:
    fastest, others = (min(pair[way] for pair in session) for way in (0, 1))
    return others / fastest


def _runner(stack: ExitStack, path: Path, options: ModelOptions) -> LlamaRunner:
    small = replace(
        options,
        context_length=2 * _PROMPT,
        max_sequences=1,
        prefill_chunk=_PROMPT,
        mlock=False,
    )
    return LlamaRunner(stack.enter_context(closing(load_model(path, small))), small)


def _seconds_a_token(runner: LlamaRunner, deadline: float, *, score: bool) -> float:
    """For a token of an answer, and those that are read for it; anything after the deadline."""
    runner.truncate(0, 0)
    begun = time.perf_counter()
    runner.run((Chunk(0, 0, tuple(range(_PROMPT)), sample=True, score=score),))
    read = time.perf_counter()
    for row in range(_ANSWER):
        if time.perf_counter() > deadline:
            break
        runner.run((Chunk(0, _PROMPT + row, (row,), sample=True),))
    written = time.perf_counter()
    return _READ_A_WRITTEN * (read - begun) / _PROMPT + (written - read) / _ANSWER
