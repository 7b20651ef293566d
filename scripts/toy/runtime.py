"""The exported files in llama.cpp, pictures included: what evaluation and tests ask.

One sequence, greedy, flash attention off; nothing of the engine, so that what is measured is the
files alone.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf import GGUFReader
from llama_cpp import llama_cpp as lib
from llama_cpp import mtmd_cpp as mtmd

from mistral_small_edge.images.geometry import CELL
from mistral_small_edge.llama.log import redirect
from mistral_small_edge.llama.model import Model
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from scripts.toy.drawings import fitted
from scripts.toy.encoding import EOS_ID, IMG, IMG_END, Encoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

_no_callback = mtmd.mtmd_helper_post_decode_callback()
CONTEXT = 4096  # tokens: the largest picture takes 3080
_MOST_IMAGE_TOKENS = 3025
_BATCH = 1024
_THREADS = 1  # operations this small are not worth sharing: two threads mostly wait for each other


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _unheard(_level: int, _text: bytes, _user: object) -> None:
    """mtmd speaks past llama.cpp's own log."""


@contextmanager
def loaded(model: Path, projector: Path) -> Iterator[Runtime]:
    """Both files, until the block ends."""
    redirect()
    mtmd.mtmd_log_set(_unheard, None)
    mtmd.mtmd_helper_log_set(_unheard, None)
    lib.llama_backend_init()
    weights = lib.llama_model_load_from_file(str(model).encode(), lib.llama_model_default_params())
    context = lib.llama_init_from_model(weights, _context_params())
    eyes = mtmd.mtmd_init_from_file(str(projector).encode(), weights, _eyes_params())
    if not (weights and context and eyes):
        raise RuntimeError(f"llama.cpp cannot load {model} with {projector}")
    try:
        yield Runtime(weights, context, eyes, _row_break(projector))
    finally:
        mtmd.mtmd_free(eyes)
        lib.llama_free(context)
        lib.llama_model_free(weights)


class Runtime:
    """Reads a prompt with at most one picture, and goes on from it."""

    def __init__(
        self, weights: Any, context: Any, eyes: Any, row_break: NDArray[np.float32]
    ) -> None:
        self._context, self._eyes, self._row_break = context, eyes, row_break
        tokenizer = LlamaTokenizer(Model(weights, context))
        self._vocab_size = tokenizer.vocab_size
        self.encoder = Encoder(tokenizer.encode)

    def answer(self, prompt: list[int], picture: Image | None = None, most: int = 100) -> list[int]:
        """Ids of the likeliest answer, its end included unless it takes more than `most`."""
        ids: list[int] = []
        logits = self.logits(prompt, picture)
        while True:
            ids.append(int(logits.argmax()))
            if ids[-1] == EOS_ID or len(ids) == most:
                return ids
            self._read_ids(ids[-1:])
            logits = self._last_logits()

    def logits(self, prompt: list[int], picture: Image | None = None) -> NDArray[np.float32]:
        """(vocabulary,) for what follows a prompt, which has the picture's marks in its place."""
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        if picture is None:
            self._read_ids(prompt)
            return self._last_logits()
        begin, end = prompt.index(IMG), prompt.index(IMG_END)
        self._read_ids(prompt[:begin])
        self._read_picture(picture, end - begin)
        self._read_ids(prompt[end:])
        return self._last_logits()

    def _last_logits(self) -> NDArray[np.float32]:
        row = lib.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(row, (self._vocab_size,)).copy()

    def _read_ids(self, ids: list[int]) -> None:
        array = (lib.llama_token * len(ids))(*ids)
        if lib.llama_decode(self._context, lib.llama_batch_get_one(array, len(ids))) != 0:
            raise RuntimeError(f"llama.cpp cannot read {len(ids)} ids")

    def _read_picture(self, picture: Image, num_marks: int) -> None:
        """Its cells and the breaks between rows; the end belongs to the ids that follow."""
        shown = fitted(picture)
        bitmap = mtmd.mtmd_bitmap_init(*shown.size, _bytes(shown.tobytes()))
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            chunk = self._tokenized(chunks, bitmap)
            if mtmd.mtmd_input_chunk_get_n_tokens(chunk) != num_marks:
                raise RuntimeError(f"a picture of {picture.size} does not take {num_marks} marks")
            self._read_chunk(chunk, columns=shown.width // CELL)
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def _tokenized(self, chunks: Any, bitmap: Any) -> Any:
        """The picture's own chunk, among those that mtmd makes of it."""
        part = mtmd.mtmd_input_part(text=None, bitmap=bitmap)
        parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
        if mtmd.mtmd_tokenize_from_parts(self._eyes, chunks, parts, 1, False) != 0:
            raise RuntimeError("mtmd cannot tokenize a picture")
        made = [
            mtmd.mtmd_input_chunks_get(chunks, index)
            for index in range(mtmd.mtmd_input_chunks_size(chunks))
        ]
        image = mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE
        return next(chunk for chunk in made if mtmd.mtmd_input_chunk_get_type(chunk) == image)

    def _read_chunk(self, chunk: Any, columns: int) -> None:
        memory = lib.llama_get_memory(self._context)
        at = lib.llama_memory_seq_pos_max(memory, 0) + 1
        end = lib.llama_pos()
        code = mtmd.mtmd_encode_chunk(self._eyes, chunk)
        if code != 0:
            raise RuntimeError(f"mtmd cannot look at a picture: {code}")
        seen = mtmd.mtmd_get_output_embd(self._eyes)
        self._mend_breaks(seen, mtmd.mtmd_input_chunk_get_n_tokens(chunk), columns)
        code = mtmd.mtmd_helper_decode_image_chunk(
            *(self._eyes, self._context, chunk, seen, at, 0, _BATCH, ctypes.byref(end)),
            *(_no_callback, None),
        )
        if code != 0:
            raise RuntimeError(f"mtmd cannot read a picture: {code}")

    def _mend_breaks(self, seen: Any, num_marks: int, columns: int) -> None:
        """Write the break's embedding where rows of cells end.

        llama.cpp makes these of memory as it finds it, cleared by a product with 0, and what was no
        number stays none.
        """
        width = len(self._row_break)
        embeddings = np.ctypeslib.as_array(seen, (num_marks, width))
        embeddings[columns :: columns + 1] = self._row_break


def _row_break(projector: Path) -> NDArray[np.float32]:
    tensors = {tensor.name: tensor for tensor in GGUFReader(projector).tensors}
    return np.asarray(tensors["v.token_embd.img_break"].data, np.float32)


def _bytes(data: bytes) -> Any:
    return (ctypes.c_uint8 * len(data)).from_buffer_copy(data)


def _context_params() -> Any:
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, _BATCH, _BATCH
    params.n_threads = params.n_threads_batch = _THREADS
    params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.type_k = params.type_v = lib.GGML_TYPE_F32
    return params


def _eyes_params() -> Any:
    params = mtmd.mtmd_context_params_default()
    params.use_gpu = params.print_timings = params.warmup = False
    params.n_threads = _THREADS
    params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.image_min_tokens, params.image_max_tokens = 1, _MOST_IMAGE_TOKENS
    return params
