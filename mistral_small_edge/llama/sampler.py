"""SamplingParams as a chain of llama.cpp's samplers.

Order: bias and penalties on the logits, then temperature, then the cuts (min_p, top_k, top_p), then
the draw. Temperature comes before the cuts, as where Mistral's and OpenAI's parameters come from;
llama.cpp's own programs cut first, which at temperature 0.15 makes top_p mean something else.

A constraint comes before all of it: the chain is given the tokens that may come next and no
others, so the narrower the choice, the less there is to do.
"""

from __future__ import annotations

import ctypes
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as lib

from mistral_small_edge.engine.backend import Sampled, TokenScore
from mistral_small_edge.llama import short_calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from mistral_small_edge.engine.backend import Constraint
    from mistral_small_edge.sampling_params import SamplingParams

REPEAT_WINDOW = 64  # tokens that repeat_penalty looks back on, as in llama.cpp's programs
_ANY_SEED = 2**32 - 1  # llama.cpp takes this one as "draw a seed": a caller's must not become it

# llama_token_data, laid out as in C: arrays of it are filled without a Python step per token.
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class LlamaSampler:
    """A chain of its own for one sequence."""

    def __init__(
        self,
        context: Any,
        vocab_size: int,
        params: SamplingParams,
        prompt: tuple[int, ...],
        constraint: Constraint | None = None,
    ) -> None:
        self._context = context
        self._vocab_size = vocab_size
        self._top_logprobs = params.top_logprobs
        self._constraint = constraint
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        if constraint is not None and constraint.forbidden:
            never = dict.fromkeys(constraint.forbidden, float("-inf"))
            lib.llama_sampler_chain_add(self._chain, _bias(vocab_size, never))
        for part in _parts(vocab_size, params, prompt):
            lib.llama_sampler_chain_add(self._chain, part)

    def sample(self, row: int) -> Sampled:
        """Draw from the logits at `row` and remember the token for the penalties."""
        allowed = self._allowed()
        if allowed is None:
            token: int = short_calls.sampler_sample(self._chain, self._context, row)
        else:
            token = self._draw_from(logits_at(self._context, row, self._vocab_size), allowed)
        if self._top_logprobs is None:
            return self._accepted(Sampled(token))
        return self._accepted(
            score_row(self._context, row, self._vocab_size, token, self._top_logprobs)
        )

    def sample_from(self, logits: NDArray[np.float32]) -> Sampled:
        """The same from logits that were copied before, (vocabulary,)."""
        token = self._draw_from(logits, self._allowed())
        if self._top_logprobs is None:
            return self._accepted(Sampled(token))
        return self._accepted(_scored(token, logits, self._top_logprobs))

    def close(self) -> None:
        """Free the chain. Idempotent."""
        if self._chain is not None:
            lib.llama_sampler_free(self._chain)
            self._chain = None

    def _allowed(self) -> bytes | None:
        return None if self._constraint is None else self._constraint.allowed()

    def _accepted(self, sampled: Sampled) -> Sampled:
        if self._constraint is None:
            return sampled
        self._constraint.accept(sampled.token)
        return replace(sampled, complete=self._constraint.complete)

    def _draw_from(self, logits: NDArray[np.float32], allowed: bytes | None) -> int:
        if allowed is None:
            ids = np.arange(self._vocab_size)
        else:
            bits = np.unpackbits(np.frombuffer(allowed, np.uint8), bitorder="little")
            ids = np.flatnonzero(bits[: self._vocab_size])
        token = int(ids[0]) if len(ids) == 1 else self._choose(ids, logits[ids])
        short_calls.sampler_accept(self._chain, token)
        return token

    def _choose(self, ids: NDArray[np.intp], logits: NDArray[np.float32]) -> int:
        candidates = np.zeros(len(ids), _CANDIDATE)
        candidates["id"] = ids
        candidates["logit"] = logits
        array = lib.llama_token_data_array(
            data=ctypes.cast(candidates.ctypes.data, lib.llama_token_data_p),
            size=len(candidates),
            selected=-1,
            sorted=False,
        )
        short_calls.sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)


def score_row(context: Any, row: int, vocab_size: int, token: int, top: int) -> Sampled:
    """How likely `token` was at `row` of the last batch, and the `top` likeliest ones."""
    return _scored(token, logits_at(context, row, vocab_size), top)


def logits_at(context: Any, row: int, vocab_size: int) -> NDArray[np.float32]:
    """llama.cpp's own logits at `row` of the last batch, (vocabulary,), until the next one."""
    pointer = short_calls.get_logits_ith(context, row)
    return np.ctypeslib.as_array(pointer, shape=(vocab_size,))


def _bias(vocab_size: int, biases: Mapping[int, float]) -> Any:
    array = (lib.llama_logit_bias * len(biases))(
        *(lib.llama_logit_bias(token, bias) for token, bias in biases.items())
    )
    return lib.llama_sampler_init_logit_bias(vocab_size, len(array), array)


def _parts(vocab_size: int, params: SamplingParams, prompt: tuple[int, ...]) -> Iterator[Any]:
    if params.logit_bias:
        yield _bias(vocab_size, params.logit_bias)
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
