"""SamplingParams as a chain of llama.cpp's samplers.

Order: bias and penalties on the logits, then temperature, then the cuts (min_p, top_k, top_p), then
the draw. Temperature comes before the cuts, as where Mistral's and OpenAI's parameters come from;
llama.cpp's own programs cut first, which at temperature 0.15 makes top_p mean something else.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as lib

from mistral_small_edge.engine.backend import Sampled, TokenScore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mistral_small_edge.sampling_params import SamplingParams

REPEAT_WINDOW = 64  # tokens that repeat_penalty looks back on, as in llama.cpp's programs
_ANY_SEED = 2**32 - 1  # llama.cpp takes this one as "draw a seed": a caller's must not become it


class LlamaSampler:
    """A chain of its own for one sequence."""

    def __init__(
        self, context: Any, vocab_size: int, params: SamplingParams, prompt: tuple[int, ...]
    ) -> None:
        self._context = context
        self._vocab_size = vocab_size
        self._top_logprobs = params.top_logprobs
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for part in _parts(vocab_size, params, prompt):
            lib.llama_sampler_chain_add(self._chain, part)

    def sample(self, row: int) -> Sampled:
        """Draw from the logits at `row` and remember the token for the penalties."""
        token: int = lib.llama_sampler_sample(self._chain, self._context, row)
        if self._top_logprobs is None:
            return Sampled(token)
        logits = np.ctypeslib.as_array(
            lib.llama_get_logits_ith(self._context, row), shape=(self._vocab_size,)
        )
        return _scored(token, logits, self._top_logprobs)

    def close(self) -> None:
        """Free the chain. Idempotent."""
        if self._chain is not None:
            lib.llama_sampler_free(self._chain)
            self._chain = None


def _parts(vocab_size: int, params: SamplingParams, prompt: tuple[int, ...]) -> Iterator[Any]:
    if params.logit_bias:
        biases = (lib.llama_logit_bias * len(params.logit_bias))(
            *(lib.llama_logit_bias(token, bias) for token, bias in params.logit_bias.items())
        )
        yield lib.llama_sampler_init_logit_bias(vocab_size, len(biases), biases)
    if params.repeat_penalty != 1:
        repeat = lib.llama_sampler_init_penalties(
            vocab_size, REPEAT_WINDOW, params.repeat_penalty, 0, 0
        )
        for token in prompt[-REPEAT_WINDOW:]:
            lib.llama_sampler_accept(repeat, token)
        yield repeat
    if params.frequency_penalty or params.presence_penalty:
        # Counts over the whole answer and nothing else: the prompt is never shown to it.
        yield lib.llama_sampler_init_penalties(
            vocab_size, 2**20, 1, params.frequency_penalty, params.presence_penalty
        )
    if params.temperature == 0:
        yield lib.llama_sampler_init_greedy()
        return
    yield lib.llama_sampler_init_temp(params.temperature)
    if params.min_p:
        yield lib.llama_sampler_init_min_p(params.min_p, 1)
    if params.top_k:
        yield lib.llama_sampler_init_top_k(params.top_k)
    if params.top_p < 1:
        yield lib.llama_sampler_init_top_p(params.top_p, 1)
    yield lib.llama_sampler_init_dist(_seed(params.seed))


def _seed(seed: int | None) -> int:
    return secrets.randbelow(_ANY_SEED) if seed is None else seed % _ANY_SEED


def _scored(token: int, logits: NDArray[np.float32], count: int) -> Sampled:
    wide = logits.astype(np.float64)
    peak = wide.max()
    logprobs = wide - (peak + np.log(np.exp(wide - peak).sum()))
    best = np.argpartition(-logprobs, min(count, len(logprobs) - 1))[:count]
    # By probability, then id: equal ones come in the same order every time.
    order = sorted((int(index) for index in best), key=lambda index: (-logprobs[index], index))
    top = tuple(TokenScore(index, float(logprobs[index])) for index in order)
    return Sampled(token, TokenScore(token, float(logprobs[token])), top)
