"""Batches into llama.cpp and logits rows out of it.

The only place that knows llama_batch and llama.cpp's sequence ids (which are our slots).
"""

from __future__ import annotations

import ctypes
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as lib

from mistral_small_edge.engine.backend import Interrupted
from mistral_small_edge.errors import DecodeFailed, NoProjector
from mistral_small_edge.llama import short_calls
from mistral_small_edge.llama.interruption import INTERRUPTED, Interruption
from mistral_small_edge.llama.team import Teams

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mistral_small_edge.engine.backend import Batch, Chunk, Logits, RowClasses
    from mistral_small_edge.engine.calibration import StepCosts
    from mistral_small_edge.images import Image
    from mistral_small_edge.llama.model import Model, ModelOptions
    from mistral_small_edge.llama.projector import Projector
    from mistral_small_edge.llama.slices import Slices


# Our codes for rows that llama.cpp would not read or write, and for some that are still to be moved.
_NOT_COPIED, _NOT_THERE_YET = -100, -101


class LlamaRunner:
    """A Model as the engine sees it, and its projector if it has one. Used by one thread."""

    def __init__(
        self, model: Model, options: ModelOptions, projector: Projector | None = None
    ) -> None:
        self._projector = projector
        self._context = model.context
        self._memory = lib.llama_get_memory(model.context)
        self._logits = LogitsRows(
            model.context, lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model.weights))
        )
        self.max_sequences = options.max_sequences
        self.context_length = options.context_length
        self.keeps_rows = not (
            lib.llama_model_is_recurrent(model.weights) or lib.llama_model_is_hybrid(model.weights)
        )
        self.row_classes: RowClasses = options.row_classes
        self.batch_rows = options.batch_rows
        self.threads = options.threads
        # Whether the threads share out what one row attends to; see trial.py.
        self.splits_context = options.flash_attention and options.kv_type == "f16"
        self._offloads = options.offloads
        self._batch = _Batch(options.batch_rows)
        self._copied: set[int] = set()
        self._teams: Teams | None = None
        self._interruption = Interruption(model.context)

    def run(self, batch: Batch) -> tuple[int, ...]:
        """Compute a batch; the first logits row of each chunk that samples."""
        rows = self._batch.fill(batch)
        self._copied.clear()  # llama.cpp moves what was copied before it computes
        if self._teams is None:
            code = self._decode(batch)
        else:
            code = self._teams.time(self._batch.struct.n_tokens, partial(self._decode, batch))
        if code == INTERRUPTED:
            raise Interrupted
        if code != 0:
            raise DecodeFailed(code, self._batch.struct.n_tokens)
        if self._offloads:  # what is computed elsewhere may go on behind a decode
            lib.llama_synchronize(self._context)
        for chunk in batch:
            if chunk.padding:
                self.truncate(chunk.slot, chunk.start + len(chunk.tokens))
        return rows

    def interrupt(self) -> None:
        """Any thread may call it; only the processor and Metal listen, between two operations."""
        self._interruption.ask()

    def go_on(self) -> None:
        """Let batches be computed."""
        self._interruption.over()

    def adapt_threads(
        self, most: int, costs: StepCosts, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """From now on compute with as many threads, up to `most`, as are fastest at the time."""
        self._teams = Teams(most, costs, clock)

    def use_threads(self, count: int) -> None:
        """Compute the next batch with so many."""
        lib.llama_set_n_threads(self._context, count, count)

    def _decode(self, batch: Batch, threads: int | None = None, within: float | None = None) -> int:
        """llama.cpp's code; if it was interrupted, also by taking longer than `within` seconds, all is as before."""
        if threads is not None:
            self.use_threads(threads)
        with self._interruption.listening(within):
            code: int = lib.llama_decode(self._context, self._batch.struct)
        if code == INTERRUPTED:
            if self._offloads:
                lib.llama_synchronize(self._context)
            for chunk in batch:  # llama.cpp may have been done with some
                self.truncate(chunk.slot, chunk.start)
        return code

    def seen(self, image: Image) -> NDArray[np.float32] | None:
        """A picture's vectors, if they are kept."""
        return None if self._projector is None else self._projector.seen(image)

    def look_at(self, image: Image) -> Slices:
        """Begin to make a picture's vectors.

        Raises:
            NoProjector: there is nothing to see with.
        """
        if self._projector is None:
            raise NoProjector("the model")
        return self._projector.look_at(image)

    def logits(self, row: int) -> Logits:
        """llama.cpp's own at `row` of the last batch, (vocabulary,), until the next one."""
        return self._logits.at(row)

    def copy(self, source: int, slot: int, length: int) -> None:
        """Put the leading rows of one slot into another; the whole lane moves with the next batch.

        Unlike a state that is read and written, it takes no memory.
        """
        lib.llama_memory_seq_cp(self._memory, source, slot, -1, -1)
        self._copied.add(slot)
        self.truncate(slot, length)

    def save(self, slot: int) -> memoryview:
        """The slot's rows in llama.cpp's own form."""
        if slot in self._copied:
            raise DecodeFailed(_NOT_THERE_YET, 0)
        size = lib.llama_state_seq_get_size(self._context, slot)
        state = (ctypes.c_uint8 * size)()
        if lib.llama_state_seq_get_data(self._context, state, size, slot) != size:
            raise DecodeFailed(_NOT_COPIED, 0)
        return memoryview(state).cast("B")

    def restore(self, slot: int, state: memoryview, length: int) -> None:
        """Put the leading rows of what was saved into a slot."""
        if self._copied:  # what is still to be moved may come from this slot
            raise DecodeFailed(_NOT_THERE_YET, length)
        array = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if not lib.llama_state_seq_set_data(self._context, array, len(state), slot):
            raise DecodeFailed(_NOT_COPIED, length)
        self.truncate(slot, length)

    def truncate(self, slot: int, length: int) -> None:
        """Forget the slot's rows at `length` and after."""
        short_calls.memory_seq_rm(self._memory, slot, length, -1)


class LogitsRows:
    """A context's own logits, where llama.cpp has them."""

    def __init__(self, context: Any, vocab_size: int) -> None:
        self._context = context
        self._row = ctypes.c_float * vocab_size
        self._known: dict[int, Logits] = {}  # they come to lie in the same few places

    def at(self, row: int) -> Logits:
        """Those at `row` of the last batch, (vocabulary,), until the next one."""
        address = short_calls.get_logits_ith(self._context, row)
        if address not in self._known:
            floats = memoryview(self._row.from_address(address))
            self._known[address] = np.frombuffer(floats, np.float32)
        return self._known[address]


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
        self._tokens = _pointer(self._token, lib.llama_token)
        self._vectors: NDArray[np.float32] | None = None  # what struct.embd points at
        self.struct: Any = lib.llama_batch(
            n_tokens=0,
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
            last = at + len(chunk.tokens)
            if last - at == 1 and chunk.sample and not chunk.padding and chunk.vectors is None:
                self._set(at, chunk)
                rows.append(at)
                at = last
                continue
            end = last + chunk.padding
            self._pos[at:end] = np.arange(chunk.start, chunk.start + end - at)
            self._slot[at:end] = chunk.slot
            self._logits[at:end] = chunk.score
            if chunk.sample:
                first = last - 1 - chunk.drafted
                self._logits[first:last] = 1
                rows.append(first)
            if chunk.drafted or not chunk.tokens:
                # Else the last layer computes fewer rows than the others, by another kernel.
                self._logits[last:end] = 1
            if chunk.vectors is None:
                self._token[at:last] = chunk.tokens
                self._token[last:end] = 0  # any will do: nothing reads it
            at = end
        self._point_at_input(batch[0])
        self.struct.n_tokens = at
        return tuple(rows)

    def _set(self, at: int, chunk: Chunk) -> None:
        """One row, as all of an answer are: slices of one take several times as long."""
        self._token[at] = chunk.tokens[0]
        self._pos[at] = chunk.start
        self._slot[at] = chunk.slot
        self._logits[at] = 1

    def _point_at_input(self, first: Chunk) -> None:
        """Tokens or vectors: llama.cpp reads the one that is given, and a picture comes alone."""
        self._vectors = _padded(first.vectors, first.padding)
        if self._vectors is None:
            self.struct.token, self.struct.embd = self._tokens, None
        else:
            self.struct.token, self.struct.embd = None, _pointer(self._vectors, ctypes.c_float)


def _padded(vectors: NDArray[np.float32] | None, padding: int) -> NDArray[np.float32] | None:
    if vectors is None or not padding:
        return vectors
    nothing = np.zeros((padding, vectors.shape[1]), np.float32)
    return np.concatenate([vectors, nothing], dtype=np.float32)


def _pointer(array: NDArray[Any], kind: type) -> ctypes._Pointer:  # type: ignore[type-arg]
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
