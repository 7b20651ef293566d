"""Quantizations as llama.cpp makes them: which type each tensor gets, and the bytes of its rows.

A name such as Q4_K_M stands for a mix: some layers' matrices are kept in a finer type than others.
llama.cpp is asked for it instead of restated here: it quantizes a model whose matrices have two
rows, and what it made of each is read.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, LlamaFileType
from llama_cpp import _ggml
from llama_cpp import llama_cpp as lib

from mistral_small_edge.llama.log import capture_errors, redirect
from scripts.synthetic.whole_file import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Mix = dict[str, GGMLQuantizationType]

# llama.cpp's file types, but for those that it makes from an importance matrix, which noise has
# not, or for other architectures.
QUANTS = (
    *("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ3_S", "IQ3_M", "IQ4_XS", "IQ4_NL"),
    *("Q4_0", "Q4_1", "Q4_K_S", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_S", "Q5_K_M"),
    *("Q6_K", "Q8_0", "F16", "BF16", "F32"),
)

_quantize_chunk = _ggml.libggml.ggml_quantize_chunk
_quantize_chunk.restype = ctypes.c_size_t
_quantize_chunk.argtypes = [
    ctypes.c_int,  # type
    ctypes.c_void_p,  # rows of float32
    ctypes.c_void_p,  # where the result goes
    *[ctypes.c_int64] * 3,  # first value, rows, values a row
    ctypes.c_void_p,  # importance matrix
]


def file_type(quant: str) -> LlamaFileType:
    """What llama.cpp calls a quantization by.

    Raises:
        Refused: noise cannot be quantized so.
    """
    if quant not in QUANTS:
        raise Refused(
            f"--quant {quant} is none of {', '.join(QUANTS)} (llama.cpp makes some others, but "
            "from an importance matrix)"
        )
    return LlamaFileType["ALL_F32" if quant == "F32" else f"MOSTLY_{quant}"]


def mix(quant: LlamaFileType, write_sample: Callable[[Path], None]) -> Mix:
    """Type of every tensor, by name, in a published file of that `quant`.

    Args:
        write_sample: writes the file that is quantized; of its dimensions, the number of layers,
            of heads and of a row's values matter.

    Raises:
        Refused: llama.cpp cannot quantize the sample so.
    """
    params = lib.llama_model_quantize_default_params()
    params.ftype = quant
    params.nthread = 1
    # Published files were made with such a matrix, which changes some mixes. That there is one is
    # enough: it holds nothing for any tensor, and a null name ends the list.
    params.imatrix = (lib.llama_model_imatrix_data * 2)((b"none", None, 0))
    redirect()
    with TemporaryDirectory() as folder, capture_errors() as errors:
        sample, quantized = Path(folder, "sample.gguf"), Path(folder, "quantized.gguf")
        write_sample(sample)
        names = (str(path).encode() for path in (sample, quantized))
        if lib.llama_model_quantize(*names, ctypes.byref(params)) != 0:
            raise Refused(f"llama.cpp does not quantize to {quant.name}: {errors[-1]}")
        return {tensor.name: tensor.tensor_type for tensor in GGUFReader(quantized).tensors}


def byte_size(dimensions: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    """Bytes of a tensor."""
    values, size = GGML_QUANT_SIZES[kind]
    return int(np.prod(dimensions)) // values * size


def quantize(rows: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[np.uint8]:
    """Rows of numbers as llama.cpp stores them: one row of bytes for each."""
    count, columns = rows.shape
    if kind == GGMLQuantizationType.F32:
        return rows.view(np.uint8)
    stored = np.empty((count, byte_size((columns,), kind)), np.uint8)
    _quantize_chunk(kind, rows.ctypes.data, stored.ctypes.data, 0, count, columns, None)
    return stored
