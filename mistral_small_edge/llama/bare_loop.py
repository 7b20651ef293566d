"""The least Python that generates: the yardstick for benchmarks.

A batch of one, a decode, a sample, again: nobody else is served, nothing is detokenized, nothing
can be cancelled. What the engine takes longer than this is its own cost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llama_cpp import llama_cpp as lib

from mistral_small_edge.engine.sampler import Sampler
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.llama.model import Model, ModelOptions, new_context
from mistral_small_edge.llama.runner import LogitsRows

if TYPE_CHECKING:
    from mistral_small_edge.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class BareTimes:
    """Seconds, for a prompt and for the steps after it."""

    prompt_seconds: float
    decode_seconds: float


class BareLoop:
    """A context of its own over a model's weights; close it before the model."""

    def __init__(self, model: Model, options: ModelOptions) -> None:
        self._vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model.weights))
        self._batch_rows = options.batch_rows
        self._context: Any = new_context(model.weights, options)
        self._logits = LogitsRows(self._context, self._vocab_size)

    def run(self, prompt: tuple[int, ...], params: SamplingParams, count: int) -> BareTimes:
        """What the prompt takes, and `count` - 1 decode steps after it."""
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)
        sampler = Sampler(self._vocab_size, params, prompt)
        begun = time.perf_counter()
        self._read(prompt)
        one = (lib.llama_token * 1)(self._next(sampler))
        batch = lib.llama_batch_get_one(one, 1)
        read = time.perf_counter()
        for _ in range(count - 1):
            self._decode(batch)
            one[0] = self._next(sampler)
        return BareTimes(read - begun, time.perf_counter() - read)

    def _next(self, sampler: Sampler) -> int:
        return sampler.sample(self._logits.at(-1)).token

    def close(self) -> None:
        """Free the context. Idempotent."""
        if self._context is not None:
            lib.llama_free(self._context)
            self._context = None

    def _read(self, prompt: tuple[int, ...]) -> None:
        for start in range(0, len(prompt), self._batch_rows):
            part = prompt[start : start + self._batch_rows]
            ids = (lib.llama_token * len(part))(*part)
            self._decode(lib.llama_batch_get_one(ids, len(part)))

    def _decode(self, batch: Any) -> None:
        code = lib.llama_decode(self._context, batch)
        if code != 0:
            raise DecodeFailed(code, batch.n_tokens)
