"""A model file in memory: load it, give it a context, free both.

Owns llama.cpp's two pointers and nothing else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llama_cpp import llama_cpp as lib

from mistral_small_edge.engine.backend import LOGITS_ROWS, RowClasses
from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.llama.log import capture_errors, redirect
from mistral_small_edge.llama.workers import RemoteLayers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mistral_small_edge.config import KVType

# Measured on x86 with AVX2 and AVX-512: without flash attention 1 to 3 rows decode alike with
# quantized weights, one row unlike two with others, and prefill repeats from 8 rows on. Flash
# attention's kernels work in tiles: f16 KV repeats from 96 rows on, and one row decodes unlike two.
PLAIN_ROWS = RowClasses(min_prefill_rows=8, max_repeatable_rows=3)
FLOAT_ROWS = RowClasses(min_prefill_rows=8, max_repeatable_rows=1)
FLASH_ROWS = RowClasses(min_prefill_rows=128, max_repeatable_rows=1)
# Measured on an H200 through Vulkan, at Mistral Small's width: chunks of different lengths hardly
# ever agree, and an answer's row depends on how long its neighbours are. Short prompts pay for the
# grid, which they are filled up to, and long ones gain little from wider chunks on small accelerators.
ACCELERATED_ROWS = RowClasses(max_repeatable_rows=1, grid=64)


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """So many layers are computed by the worker at `address` (`host:port`)."""

    address: str
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How weights and context are laid out; every choice has been made.

    `context_length` is in tokens a sequence, `prefill_chunk` the most tokens of one batch;
    `gpu_layers` are computed by an accelerator, the others by the processor alone; `float_matrices` says that some of the
    file's are not quantized; `repack` lays weights out anew for this processor's kernels; `workers` have
    the last layers, in their order; `scored_rows` are the most of one chunk whose logits are all wanted.
    """

    context_length: int
    max_sequences: int
    prefill_chunk: int
    threads: int
    gpu_layers: int
    kv_type: KVType
    flash_attention: bool
    mlock: bool
    float_matrices: bool = False
    repack: bool = True
    workers: tuple[WorkerShare, ...] = ()
    scored_rows: int = LOGITS_ROWS

    @property
    def row_classes(self) -> RowClasses:
        """Where results repeat under these options, as far as is known without trying."""
        if self.gpu_layers and not self.workers:  # beside workers the processor has the rest
            return ACCELERATED_ROWS
        if self.flash_attention:
            return FLASH_ROWS
        return FLOAT_ROWS if self.float_matrices else PLAIN_ROWS

    @property
    def offloads(self) -> bool:
        """Whether any layer is computed elsewhere than by threads of ours."""
        return bool(self.workers) or self.gpu_layers > 0

    @property
    def batch_rows(self) -> int:
        """The most rows the engine puts into one batch."""
        smallest_chunk = max(2 * self.row_classes.min_prefill_rows, self.row_classes.grid)
        return max(self.prefill_chunk, smallest_chunk, self.max_sequences, self.scored_rows)

    @property
    def output_rows(self) -> int:
        """The most rows of a batch whose logits are wanted: one a sequence, or a whole chunk."""
        return max(self.max_sequences, self.scored_rows)


class Model:
    """Loaded weights and a context over them. Not thread-safe; close it last."""

    def __init__(self, weights: Any, context: Any) -> None:
        self.weights = weights
        self.context = context

    def close(self) -> None:
        """Free the memory. Idempotent."""
        if self.context is not None:
            lib.llama_free(self.context)
        if self.weights is not None:
            lib.llama_model_free(self.weights)
        self.context = self.weights = None


def load_vocabulary(path: Path) -> Model:
    """A GGUF's vocabulary without its weights: nothing can be computed with it.

    Raises:
        ModelLoadFailed: llama.cpp would not have it; its own words are the reason.
    """
    redirect()
    lib.llama_backend_init()
    params = lib.llama_model_default_params()
    params.vocab_only = True
    with capture_errors() as complaints:
        vocabulary = lib.llama_model_load_from_file(os.fsencode(path), params)
        if not vocabulary:
            raise ModelLoadFailed(path, _reason(complaints, "llama.cpp cannot load it"))
    return Model(vocabulary, None)


def load_model(
    path: Path, options: ModelOptions, on_progress: Callable[[float], None] | None = None
) -> Model:
    """Load a GGUF (by its first part if it is split).

    Args:
        on_progress: called with 0..1 while weights are read; what it raises ends the load.

    Raises:
        ModelLoadFailed: llama.cpp would not have it; its own words are the reason.
    """
    redirect()
    lib.llama_backend_init()
    if on_progress is not None:
        on_progress(0)  # llama.cpp tells nothing until it has the vocabulary
    with capture_errors() as complaints:
        weights = _load_weights(path, options, on_progress)
        if not weights:
            raise ModelLoadFailed(path, _reason(complaints, "llama.cpp cannot load it"))
        try:
            _refuse_other_kinds(path, weights)
            return Model(weights, new_context(weights, options))
        except BaseException as error:
            lib.llama_model_free(weights)
            if isinstance(error, MemoryError):
                raise ModelLoadFailed(path, _reason(complaints, str(error))) from None
            raise


def new_context(weights: Any, options: ModelOptions) -> Any:
    """KV lanes and buffers over loaded weights; `llama_free` it before them.

    Raises:
        MemoryError: llama.cpp cannot make it.
    """
    context = lib.llama_init_from_model(weights, _context_params(options))
    if not context:
        raise MemoryError("llama.cpp cannot make a context")
    return context


def _refuse_other_kinds(path: Path, weights: Any) -> None:
    """Only models that write one token after the other: llama.cpp aborts if others are asked to."""
    if lib.llama_model_has_encoder(weights) or not lib.llama_model_has_decoder(weights):
        raise ModelLoadFailed(path, "it is an encoder, which does not write text by itself")
    if lib.llama_model_is_diffusion(weights):
        raise ModelLoadFailed(
            path, "it is a diffusion model, which does not write from left to right"
        )


def _load_weights(
    path: Path, options: ModelOptions, on_progress: Callable[[float], None] | None
) -> Any:
    raised: list[BaseException] = []

    @lib.llama_progress_callback  # type: ignore[untyped-decorator]
    def progress(fraction: float, _user: object) -> bool:
        # An exception cannot cross C: keep it, stop the load, raise it on this side.
        try:
            if on_progress is not None:
                on_progress(fraction)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C included; raised below
            raised.append(error)
        return not raised

    params = lib.llama_model_default_params()
    params.n_gpu_layers = options.gpu_layers
    if options.workers:
        remote = RemoteLayers(options.workers)
        remote.apply(params)
    params.load_mode = lib.LLAMA_LOAD_MODE_MMAP_MLOCK if options.mlock else lib.LLAMA_LOAD_MODE_MMAP
    params.use_extra_bufts = options.repack
    params.progress_callback = progress
    weights = lib.llama_model_load_from_file(os.fsencode(path), params)
    if raised:
        if weights:
            lib.llama_model_free(weights)
        raise raised[0]
    return weights


def _context_params(options: ModelOptions) -> Any:
    params = lib.llama_context_default_params()
    params.n_ctx = options.context_length * options.max_sequences
    params.n_seq_max = options.max_sequences
    params.n_batch = params.n_ubatch = options.batch_rows
    # At 131k ids the default, logits of every row of a batch, takes 256 MiB.
    params.n_outputs_max = options.output_rows
    params.n_threads = params.n_threads_batch = options.threads
    params.flash_attn_type = (
        lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if options.flash_attention
        else lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    kv_types = {
        "f16": lib.GGML_TYPE_F16,
        "q8_0": lib.GGML_TYPE_Q8_0,
        "q4_0": lib.GGML_TYPE_Q4_0,
    }
    params.type_k = params.type_v = kv_types[options.kv_type]
    # Else an accelerator computes the processor's layers, too, of batches of 32 rows and more.
    params.op_offload = False
    # Lanes of their own: what one sequence yields does not depend on how full the others are.
    params.kv_unified = False
    params.no_perf = True
    return params


def _reason(complaints: list[str], otherwise: str) -> str:
    """llama.cpp's first complaint without the function name in front: later ones echo it."""
    if not complaints:
        return otherwise
    return f"{otherwise}: {complaints[0].split(': ', 1)[-1]}"
