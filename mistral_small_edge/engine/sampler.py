"""SamplingParams over a row of logits: which token comes next.

Order: bias and penalties, then temperature, then the cuts (min_p, top_k, top_p), then the draw.
Temperature comes before the cuts, as where Mistral's and OpenAI's parameters come from;
llama.cpp's own programs cut first, which at temperature 0.15 makes top_p mean something else.

A constraint comes before all of it: the cuts see the tokens that may come next and no others. Whole
rows are computed at a time, which takes a fifth of what llama.cpp's chain of samplers does: that one
makes a list of candidates of the vocabulary for every token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from mistral_small_edge.engine.penalties import Penalties

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mistral_small_edge.engine.backend import Constraint, Logits
    from mistral_small_edge.sampling_params import SamplingParams

    Weights = NDArray[np.float32]

_SEEDS = 2**64
_COLDEST = 1e-30  # any lower temperature is this one: the next smaller float divides by zero
_BLOCK = 256  # weights that are summed up at a time
_FEW = 64  # tokens among which the likeliest are looked for first


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token with the natural log of its probability before any sampling setting."""

    token: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """The next token; its score and the likeliest ones, best first, if they were asked for.

    `complete`: nothing may follow it, so the model need not be asked whether it is done.
    """

    token: int
    score: TokenScore | None = None
    top: tuple[TokenScore, ...] = ()
    complete: bool = False


class Sampler:
    """One answer's way of choosing; remembers what it chose.

    Args:
        prompt: as `Penalties` reads it.
        constraint: what the answer may be; told of every token.
    """

    def __init__(
        self,
        vocab_size: int,
        params: SamplingParams,
        prompt: tuple[int, ...],
        constraint: Constraint | None = None,
    ) -> None:
        self._params = params
        self._constraint = constraint
        forbidden = constraint.forbidden if constraint is not None else ()
        self._penalties = Penalties(vocab_size, params, prompt, forbidden)
        seed = None if params.seed is None else params.seed % _SEEDS
        # Its sequence for a seed is promised to stay what it is.
        self._random = Random(seed)  # noqa: S311 - no secret hangs on it

    def sample(self, logits: Logits) -> Sampled:
        """Choose the next token; `logits` are the model's own, (vocabulary,), and are only read.

        Raises:
            InvalidGrammar: the constraint cannot go on.
        """
        token = self._choose(logits)
        self._penalties.accept(token)
        complete = False
        if self._constraint is not None:
            self._constraint.accept(token)
            complete = self._constraint.complete
        if self._params.top_logprobs is None:
            return Sampled(token, complete=complete)
        return replace(score(logits, token, self._params.top_logprobs), complete=complete)

    def _choose(self, logits: Logits) -> int:
        allowed = self._constraint.allowed() if self._constraint is not None else None
        if allowed is None:
            return self._pick(self._penalties.apply(logits))
        bits = np.unpackbits(np.frombuffer(allowed, np.uint8), bitorder="little")
        ids = np.flatnonzero(bits[: len(logits)])
        if len(ids) == 1:
            return int(ids[0])
        return int(ids[self._pick(self._penalties.apply(logits)[ids])])

    def _pick(self, logits: Logits) -> int:
        if self._params.temperature == 0:
            return int(logits.argmax())
        return drawn(weigh(logits, self._params), self._random.random())


def score(logits: Logits, token: int, top: int) -> Sampled:
    """How likely `token` is by `logits`, (vocabulary,), and the `top` likeliest ones."""
    peak = logits.max()
    total = float(peak) + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    found = (
        TokenScore(index, float(logits[index]) - total)
        for index in (token, *likeliest(logits, top).tolist())
    )
    return Sampled(token, next(found), tuple(found))


def likeliest(logits: Logits, count: int) -> NDArray[np.intp]:
    """The `count` tokens with the highest logits, best first; of equal ones the lower ids."""
    if not count:
        return np.empty(0, np.intp)
    least = np.partition(logits, -count)[-count]
    ids = np.flatnonzero(logits >= least)
    return ids[np.argsort(-logits[ids], kind="stable")][:count]


def drawn(weights: Weights, share: float) -> int:
    """The index that lies at `share`, from 0 to less than 1, of all the weights.

    A running sum over all of them would take longer than all else: it is made over blocks, and
    then over the weights of one.
    """
    blocks = np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK)).cumsum(dtype=np.float64)
    at = blocks[-1] * share
    block = min(int(blocks.searchsorted(at, side="right")), _last(blocks))
    first = block * _BLOCK
    within = weights[first : first + _BLOCK].cumsum(dtype=np.float64)
    before = blocks[block - 1] if block else 0.0
    return first + min(int(within.searchsorted(at - before, side="right")), _last(within))


def _last(sums: NDArray[np.float64]) -> int:
    """Where a running sum becomes what it is at its end: by rounding, a share may lie behind it."""
    return int(sums.searchsorted(sums[-1]))


def weigh(logits: Logits, params: SamplingParams) -> Weights:
    """How likely each token is to be drawn, as a share of the likeliest; those that are cut off, 0."""
    weights: Weights = logits - logits.max()
    weights /= np.float32(max(params.temperature, _COLDEST))
    np.exp(weights, out=weights)
    if params.min_p:
        weights[weights < np.float32(params.min_p)] = 0
    if 0 < params.top_k < len(logits):
        weights = _only(weights, likeliest(logits, params.top_k))
    if params.top_p < 1:
        weights = _only(weights, _nucleus(logits, weights, params.top_p))
    return weights


def _only(weights: Weights, ids: NDArray[np.intp]) -> Weights:
    left = np.zeros_like(weights)
    left[ids] = weights[ids]
    return left


def _nucleus(logits: Logits, weights: Weights, top_p: float) -> NDArray[np.intp]:
    """The likeliest tokens, as few as have `top_p` of all the weights together."""
    needed = top_p * float(weights.sum(dtype=np.float64))
    count = _FEW
    while True:
        count = min(count, len(logits))
        ids = likeliest(logits, count)
        reached = weights[ids].cumsum(dtype=np.float64)
        if reached[-1] >= needed or count == len(logits):
            return ids[: int(reached.searchsorted(needed)) + 1]
        count *= _FEW
