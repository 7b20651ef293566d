"""What a request adds to logits, and takes from them, before anything is chosen.

Knows what was said so far. Bias first, then `repeat_penalty` over what was said last, then the
penalties that count.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mistral_small_edge.engine.backend import Logits
    from mistral_small_edge.sampling_params import SamplingParams

REPEAT_WINDOW = 64  # tokens that repeat_penalty looks back on, as in llama.cpp's programs


class Penalties:
    """One answer's.

    Args:
        prompt: its tokens, a picture's rows being negative; only `repeat_penalty` looks at them.
        forbidden: tokens that are never to come.
    """

    def __init__(
        self,
        vocab_size: int,
        params: SamplingParams,
        prompt: Sequence[int],
        forbidden: Sequence[int] = (),
    ) -> None:
        self._once, self._each = params.presence_penalty, params.frequency_penalty
        self._repeat = np.float32(params.repeat_penalty)
        self._bias = _bias(vocab_size, params, forbidden)
        self._said = np.zeros(vocab_size, np.float32) if self._once or self._each else None
        self._counts: Counter[int] = Counter()
        self._last = deque(prompt[-REPEAT_WINDOW:], REPEAT_WINDOW) if self._repeat != 1 else None

    def apply(self, logits: Logits) -> Logits:
        """The logits as they are to be chosen from; those that were given stay as they are."""
        if self._bias is not None:
            logits = logits + self._bias
        if self._last:
            logits = self._less_of_the_last(logits)
        if self._said is not None:
            logits = logits - self._said
        return logits

    def accept(self, token: int) -> None:
        """Note that the answer goes on with `token`."""
        if self._last is not None:
            self._last.append(token)
        if self._said is not None:
            self._counts[token] += 1
            self._said[token] = self._once + self._each * self._counts[token]

    def _less_of_the_last(self, logits: Logits) -> Logits:
        recent = np.array([token for token in set(self._last or ()) if token >= 0], np.intp)
        found = logits[recent]
        changed = logits.copy()
        changed[recent] = np.where(found > 0, found / self._repeat, found * self._repeat)
        return changed


def _bias(
    vocab_size: int, params: SamplingParams, forbidden: Sequence[int]
) -> NDArray[np.float32] | None:
    if not params.logit_bias and not forbidden:
        return None
    bias = np.zeros(vocab_size, np.float32)
    for token, value in params.logit_bias.items():
        bias[token] = value
    bias[list(forbidden)] = -np.inf
    return bias
