"""Ways to make a tiny GGUF file wrong, for `write_tiny_model(edit=…)`, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, GGUFWriter
from gguf.gguf_writer import GGUFValue, TensorInfo

from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.gguf import read_header

if TYPE_CHECKING:
    from pathlib import Path

Edit = Callable[[GGUFWriter], object]

U32, I32, F32 = GGUFValueType.UINT32, GGUFValueType.INT32, GGUFValueType.FLOAT32
STRING, BOOL = GGUFValueType.STRING, GGUFValueType.BOOL
TOKENS = "tokenizer.ggml.tokens"
EOS = "tokenizer.ggml.eos_token_id"


def field(key: str, value: Any, kind: GGUFValueType) -> Edit:
    """Set a key to one value."""
    return lambda writer: writer.kv_data[0].update({key: GGUFValue(value, kind)})


def array(key: str, values: list[Any], kind: GGUFValueType) -> Edit:
    """Set a key to an array."""
    value = GGUFValue(values, GGUFValueType.ARRAY, kind)
    return lambda writer: writer.kv_data[0].update({key: value})


def without(key: str) -> Edit:
    """Leave a key out."""
    return lambda writer: writer.kv_data[0].pop(key)


def without_tensor(name: str) -> Edit:
    """Leave a tensor out."""
    return lambda writer: writer.tensors[0].pop(name)


def with_format(name: str, kind: GGMLQuantizationType) -> Edit:
    """Give a tensor another number format and zeros of that size; added as a vector if new."""

    def edit(writer: GGUFWriter) -> None:
        old = writer.tensors[0].get(name)
        shape = (32,) if old is None else old.shape
        block, block_bytes = GGML_QUANT_SIZES[kind]
        values = np.zeros(int(np.prod(shape)) // block * block_bytes, np.uint8)
        writer.tensors[0][name] = TensorInfo(shape, kind, values.nbytes, values)

    return edit


def renamed_token(at: int, name: str) -> Edit:
    """Give a token another name."""

    def edit(writer: GGUFWriter) -> None:
        tokens = list(writer.kv_data[0][TOKENS].value)
        tokens[at] = name
        array(TOKENS, tokens, STRING)(writer)

    return edit


def all_of(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(writer: GGUFWriter) -> None:
        for each in edits:
            each(writer)

    return edit


def sentencepiece(*, bytes_known: int = 256) -> Edit:
    """Replace the vocabulary by one that falls back on byte tokens."""

    def edit(writer: GGUFWriter) -> None:
        count = len(writer.kv_data[0][TOKENS].value)
        names = [f"<0x{byte:02X}>" for byte in range(bytes_known)]
        names += [f"▁word{at}" for at in range(count - len(names))]
        field("tokenizer.ggml.model", "llama", STRING)(writer)
        array(TOKENS, names, STRING)(writer)
        array("tokenizer.ggml.scores", [0.0] * count, F32)(writer)

    return edit


def refusal(path: Path) -> str:
    """Why the file is refused."""
    with pytest.raises(ModelLoadFailed) as caught:
        read_header(path)
    assert caught.value.path.parent == path.parent
    assert "\n" not in caught.value.reason
    return caught.value.reason
