"""llama.cpp's own quantizer: a file in, a file of smaller numbers out.

It neither stops when it is asked to, nor returns before it is done, nor always survives what it is
given: call it in a process that may be killed. How far it is, only its log tells.
"""

from __future__ import annotations

import ctypes
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llama_cpp import llama_cpp as lib

from mistral_small_edge.errors import QuantizeFailed
from mistral_small_edge.llama.log import capture_errors, logger, redirect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_BUFFER_BYTES = 512 << 20  # of rows that are in work; llama.cpp itself takes up to 8 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """How to quantize. Numbers are llama.cpp's.

    Attributes:
        file_type: the recipe, a `llama_ftype`.
        threads: at least 1.
        requantize: take matrices that are quantized already.
        pure: every matrix in the recipe's own format, with no exceptions for those that matter more.
        output_format, embedding_format: `ggml_type` of the last and the first matrix; None leaves
            them to the recipe.
    """

    file_type: int
    threads: int
    requantize: bool = False
    pure: bool = False
    output_format: int | None = None
    embedding_format: int | None = None


def quantize(
    source: Path,
    target: Path,
    options: QuantizeOptions,
    importance: Mapping[str, NDArray[np.float32]],
    tensors: Collection[str],
    on_tensor: Callable[[str], None],
) -> None:
    """Write `target`, or some of it.

    Args:
        importance: the name of a matrix, and how much each of its columns matters.
        tensors: the names of the source's.
        on_tensor: called with a tensor's name when its turn comes.

    Raises:
        QuantizeFailed: llama.cpp would not; its own words are the reason.
    """
    redirect()
    lib.llama_backend_init()
    params = _params(options)
    entries = _entries(importance)  # must live as long as the call
    if importance:
        params.imatrix = entries
    announcer = _Announcer(tensors, on_tensor)
    logger.addHandler(announcer)
    try:
        with capture_errors() as complaints:
            code = lib.llama_model_quantize(
                os.fsencode(source), os.fsencode(target), ctypes.byref(params)
            )
    finally:
        logger.removeHandler(announcer)
    if code:
        raise QuantizeFailed(source, _reason(complaints))


def _params(options: QuantizeOptions) -> Any:
    params = lib.llama_model_quantize_default_params()
    params.ftype = options.file_type
    params.nthread = options.threads
    params.allow_requantize = options.requantize
    params.pure = options.pure
    params.max_buf_size = _BUFFER_BYTES
    if options.output_format is not None:
        params.output_tensor_type = options.output_format
    if options.embedding_format is not None:
        params.token_embedding_type = options.embedding_format
    return params


def _entries(importance: Mapping[str, NDArray[np.float32]]) -> Any:
    """As C has them: one after the other, and a last one without a name."""
    entries = (lib.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(entries, importance.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return entries


class _Announcer(logging.Handler):
    """Hears in llama.cpp's chatter which tensor's turn it is.

    By the name alone, wherever it stands in a line: a version that words its lines otherwise is
    heard as well. Warnings name tensors too, but not in their turn.
    """

    def __init__(self, tensors: Collection[str], on_tensor: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self._waiting = set(tensors)
        self._on_tensor = on_tensor

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            return
        for name in self._waiting.intersection(record.getMessage().split()):
            self._waiting.remove(name)
            self._on_tensor(name)


def _reason(complaints: list[str]) -> str:
    """llama.cpp's last complaint, the one that ended it, without the function names in front."""
    if not complaints:
        return "llama.cpp does not tell why"
    return complaints[-1].rsplit("failed to quantize: ", 1)[-1].strip()
