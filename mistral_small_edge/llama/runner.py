"""Batches into llama.cpp and logits rows out of it.

The only place that knows llama_batch and llama.cpp's sequence ids (which are our slots).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
from llama_cpp import llama_cpp as lib

from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.llama.sampler import LlamaSampler, score_row

if TYPE_CHECKING:
    from mistral_small_edge.engine.backend import Batch, Constraint, RowClasses, Sampled
    from mistral_small_edge.llama.model import Model, ModelOptions
    from mistral_small_edge.sampling_params import SamplingParams


class LlamaRunner:
    """A Model as the engine sees it. Used by one thread."""

    def __init__(self, model: Model, options: ModelOptions) -> None:
        self._context = model.context
        self._memory = lib.llama_get_memory(model.context)
        self._vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model.weights))
        self.max_sequences = options.max_sequences
        self.context_length = options.context_length
        self.keeps_rows = not (
            lib.llama_model_is_recurrent(model.weights) or lib.llama_model_is_hybrid(model.weights)
        )
        self.row_classes: RowClasses = options.row_classes
        self._batch = _Batch(options.batch_rows)

    def run(self, batch: Batch) -> tuple[int, ...]:
        """Compute a batch; the row of each chunk that samples."""
        rows = self._batch.fill(batch)
        code = lib.llama_decode(self._context, self._batch.struct)
        if code != 0:
            raise DecodeFailed(code, self._batch.struct.n_tokens)
        return rows

    def score(self, row: int, token: int, top: int) -> Sampled:
        """How likely `token` was at `row`, and the likeliest ones."""
        return score_row(self._context, row, self._vocab_size, token, top)

    def truncate(self, slot: int, length: int) -> None:
        """Forget the slot's rows at `length` and after."""
        lib.llama_memory_seq_rm(self._memory, slot, length, -1)

    def new_sampler(
        self, params: SamplingParams, prompt: tuple[int, ...], constraint: Constraint | None
    ) -> LlamaSampler:
        """A sampler reading this model's logits."""
        return LlamaSampler(self._context, self._vocab_size, params, prompt, constraint)


class _Batch:
    """One llama_batch over arrays of our own, filled by slices: no Python work per token."""

    def __init__(self, capacity: int) -> None:
        self._token = np.zeros(capacity, np.int32)
        self._pos = np.zeros(capacity, np.int32)
        self._slot = np.zeros(capacity, np.int32)
        self._logits = np.zeros(capacity, np.int8)
        self._n_seq_id = np.ones(capacity, np.int32)
        # seq_id[i] points at _slot[i].
        self._seq_id = self._slot.ctypes.data + np.arange(capacity, dtype=np.uintp) * 4
        self.struct = lib.llama_batch(
            n_tokens=0,
            token=_pointer(self._token, lib.llama_token),
            embd=None,
            pos=_pointer(self._pos, lib.llama_pos),
            n_seq_id=_pointer(self._n_seq_id, ctypes.c_int32),
            seq_id=ctypes.cast(
                self._seq_id.ctypes.data, ctypes.POINTER(ctypes.POINTER(lib.llama_seq_id))
            ),
            logits=_pointer(self._logits, ctypes.c_int8),
        )

    def fill(self, batch: Batch) -> tuple[int, ...]:
        rows = []
        at = 0
        for chunk in batch:
            end = at + len(chunk.tokens)
            self._token[at:end] = chunk.tokens
            self._pos[at:end] = np.arange(chunk.start, chunk.start + len(chunk.tokens))
            self._slot[at:end] = chunk.slot
            self._logits[at:end] = chunk.score
            if chunk.sample:
                self._logits[end - 1] = 1
                rows.append(end - 1)
            at = end
        self.struct.n_tokens = at
        return tuple(rows)


def _pointer(array: np.ndarray, kind: type) -> ctypes._Pointer:  # type: ignore[type-arg]
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
