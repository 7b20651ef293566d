"""A smaller model that writes ahead of the large one, in lanes of its own, slot by slot.

It takes the likeliest token each time, and stops where it is not sure: a guess that is wrong costs
more than none.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from mistral_small_edge.engine.backend import Chunk
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.llama.runner import LlamaRunner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.llama.model import Model, ModelOptions

logger = logging.getLogger("mistral_small_edge.llama")

_SURE = 0.6  # of a token, to write it


class LlamaDraft:
    """A Model as one that writes ahead. Used by the engine's thread alone; its owner closes it.

    Attributes:
        runner: what it computes with.
        cost: a token, as a share of the large model's step.
    """

    def __init__(self, model: Model, options: ModelOptions) -> None:
        self.runner = LlamaRunner(model, options)
        self.cost = 1.0
        self._model = model
        self._chunk = options.prefill_chunk
        self._held: list[list[int]] = [[] for _ in range(options.max_sequences)]

    def write(self, slot: int, tokens: Sequence[int], most: int) -> tuple[int, ...]:
        """Up to `most` tokens behind `tokens`; none if it cannot be computed."""
        most = min(most, self.runner.context_length - len(tokens))
        if most <= 0:
            return ()
        try:
            return self._write(slot, list(tokens), most)
        except DecodeFailed as error:
            logger.warning("the draft model wrote nothing: %s", error)
            self.forget(slot)
            return ()

    def forget(self, slot: int) -> None:
        """Read anew whatever comes next there."""
        self.runner.truncate(slot, 0)
        self._held[slot] = []

    def close(self) -> None:
        """Free the memory. Idempotent."""
        self._model.close()

    def _write(self, slot: int, tokens: list[int], most: int) -> tuple[int, ...]:
        row = self._read(slot, tokens)
        written: list[int] = []
        while len(written) < most:
            token, probability = self._likeliest(row)
            if probability < _SURE:
                break
            written.append(token)
            if len(written) < most:
                row = self._compute(slot, len(tokens) + len(written) - 1, (token,))
                self._held[slot].append(token)
        return tuple(written)

    def _read(self, slot: int, tokens: list[int]) -> int:
        """Have the slot hold `tokens` and no others; the logits row behind the last one."""
        # The last one is computed in any case: its logits are wanted.
        known = min(_common(self._held[slot], tokens), len(tokens) - 1)
        self.runner.truncate(slot, known)
        del self._held[slot][known:]
        row = 0
        for start in range(known, len(tokens), self._chunk):
            chunk = tokens[start : start + self._chunk]
            row = self._compute(slot, start, tuple(chunk))
            self._held[slot] += chunk
        return row

    def _compute(self, slot: int, start: int, tokens: tuple[int, ...]) -> int:
        (row,) = self.runner.run((Chunk(slot, start, tokens, sample=True),))
        return row

    def _likeliest(self, row: int) -> tuple[int, float]:
        logits = self.runner.logits(row)
        token = int(logits.argmax())
        return token, float(1 / np.exp(logits - logits[token]).sum())


def _common(one: list[int], other: list[int]) -> int:
    """How many leading tokens are the same."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    differ = np.asarray(one[:length]) != np.asarray(other[:length])
    return int(differ.argmax())
