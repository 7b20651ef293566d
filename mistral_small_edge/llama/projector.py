"""The part that sees: a projector file in memory, pictures into vectors (llama.cpp's mtmd).

Loaded when the first picture comes. A picture is already of whole cells, so that nothing of
mtmd's own scaling is left to do; its work is cut between layers, where it can be given up.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as lib
from llama_cpp import mtmd_cpp as mtmd
from llama_cpp._ggml import libggml

from mistral_small_edge.errors import EncodeFailed, ModelLoadFailed
from mistral_small_edge.llama.log import capture_errors, redirect_vision
from mistral_small_edge.llama.slices import Slices

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from mistral_small_edge.images import Image
    from mistral_small_edge.llama.model import Model
    from mistral_small_edge.llama.slices import Pause
    from mistral_small_edge.llama.vector_cache import VectorCache

_NOT_FINITE = -1  # our code for vectors that are no numbers
_MAX_CELLS = 3025  # of 55 by 55; mtmd's own limit is 1024
# Where in a layer the work may stand still: behind its attention, the longest of its products.
_PAUSES = (b"attn_out-", b"layer_out-")

_name_of = libggml.ggml_get_name
_name_of.argtypes, _name_of.restype = [ctypes.c_void_p], ctypes.c_char_p


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorOptions:
    """A projector's file, and what is known of it.

    `row_break` (width,) ends every row of a picture but the last; `layers` are the encoder's.
    """

    path: Path
    layers: int
    row_break: NDArray[np.float32]
    threads: int
    use_gpu: bool


class Projector:
    """Sees for one model. Used by one thread at a time; close it before the model."""

    def __init__(self, options: ProjectorOptions, model: Model, cache: VectorCache) -> None:
        self._options = options
        self._model = model
        self._cache = cache
        self._eyes: Any = None
        self._pause: Pause = _go_on
        self._pauses = 0
        # Called from C for as long as the eyes are open.
        self._on_tensor = lib.ggml_backend_sched_eval_callback(self._stand_still)
        self._on_load = mtmd.mtmd_progress_callback(lambda _done, _: self._pause(0.0))

    def seen(self, image: Image) -> NDArray[np.float32] | None:
        """(rows, width) of a picture, if it was looked at and is still remembered."""
        return self._cache.get(image.digest)

    def look_at(self, image: Image) -> Slices:
        """Begin to look at a picture; the result is (rows, width), row breaks included."""
        return Slices(lambda pause: self._look(image, pause))

    def close(self) -> None:
        """Free the memory. Idempotent."""
        if self._eyes is not None:
            mtmd.mtmd_free(self._eyes)
            self._eyes = None

    def _look(self, image: Image, pause: Pause) -> NDArray[np.float32] | None:
        """None if it was given up."""
        self._pause, self._pauses = pause, 0
        try:
            return self._looked_at(image, pause)
        finally:
            self._pause = _go_on  # the other one would keep its call alive, and its vectors

    def _looked_at(self, image: Image, pause: Pause) -> NDArray[np.float32] | None:
        if self._eyes is None:
            self._open()
        with _picture_chunk(self._eyes, image) as chunk:
            code = mtmd.mtmd_encode_chunk(self._eyes, chunk)
            if not pause(1.0):
                return None
            if code != 0:
                raise EncodeFailed(code, image.columns, image.rows)
            vectors = self._mended(image, mtmd.mtmd_get_output_embd(self._eyes))
        self._cache.put(image.digest, vectors)
        return vectors

    def _open(self) -> None:
        redirect_vision()
        path = self._options.path
        with capture_errors() as complaints:
            eyes = mtmd.mtmd_init_from_file(os.fsencode(path), self._model.weights, self._params())
        if not eyes:
            reason = complaints[0].split(": ", 1)[-1] if complaints else "llama.cpp cannot load it"
            raise ModelLoadFailed(path, reason)
        self._eyes = eyes

    def _params(self) -> Any:
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = self._options.use_gpu
        params.print_timings = params.warmup = False
        params.n_threads = self._options.threads
        # Without it a picture of 1540 by 1540 pixels takes 9 GB.
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.image_min_tokens, params.image_max_tokens = 1, _MAX_CELLS
        params.cb_eval = self._on_tensor
        params.progress_callback = self._on_load
        return params

    def _stand_still(self, tensor: int, ask: bool, _user: object) -> bool:
        """Asked before each tensor whether it is of interest, and behind those that are."""
        if ask:
            return bool(_name_of(tensor).startswith(_PAUSES))
        self._pauses += 1
        return self._pause(self._pauses / (len(_PAUSES) * self._options.layers + 1))

    def _mended(self, image: Image, output: Any) -> NDArray[np.float32]:
        """llama.cpp's vectors with the row breaks as they were trained.

        It makes these of memory as it finds it, cleared by a product with 0, and what was no number
        stays none.
        """
        row_break = self._options.row_break
        shape = (image.num_tokens - 1, len(row_break))
        vectors = np.ctypeslib.as_array(output, shape).copy()
        vectors[image.columns :: image.columns + 1] = row_break
        if not np.isfinite(vectors).all():
            raise EncodeFailed(_NOT_FINITE, image.columns, image.rows)
        return vectors


def _go_on(_done: float) -> bool:
    return True


@contextmanager
def _picture_chunk(eyes: Any, image: Image) -> Iterator[Any]:
    """mtmd's form of a picture, until the block ends."""
    pixels = (ctypes.c_uint8 * len(image.pixels)).from_buffer_copy(image.pixels)
    bitmap = mtmd.mtmd_bitmap_init(image.width, image.height, pixels)
    chunks = mtmd.mtmd_input_chunks_init()
    try:
        yield _tokenized(eyes, chunks, bitmap, image)
    finally:
        mtmd.mtmd_input_chunks_free(chunks)
        mtmd.mtmd_bitmap_free(bitmap)


def _tokenized(eyes: Any, chunks: Any, bitmap: Any, image: Image) -> Any:
    """The picture's own chunk, among those of marks around it."""
    part = mtmd.mtmd_input_part(text=None, bitmap=bitmap)
    parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
    code = mtmd.mtmd_tokenize_from_parts(eyes, chunks, parts, 1, False)
    made = [] if code else range(mtmd.mtmd_input_chunks_size(chunks))
    for index in made:
        chunk = mtmd.mtmd_input_chunks_get(chunks, index)
        if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
            # The mark of the picture's end is the prompt's, not the chunk's.
            if mtmd.mtmd_input_chunk_get_n_tokens(chunk) == image.num_tokens - 1:
                return chunk
            break
    raise EncodeFailed(code, image.columns, image.rows)
