"""Mistral Small 3.2's language model in noise: its keys, its vocabulary, its mix of types.

Every layer has the same weights, in the types that it has in a published file. A seed gives the
same bytes.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGML_QUANT_VERSION, GGUFWriter

from mistral_small_edge.gguf.checks import MAX_LAYERS
from scripts.synthetic.noise import Noise
from scripts.synthetic.quants import byte_size, mix, quantize
from scripts.synthetic.whole_file import Refused, check_room
from scripts.toy.tekken import FULL_SIZE, Tekken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gguf import LlamaFileType
    from numpy.typing import NDArray

    from scripts.synthetic.quants import Mix

    Dimensions = tuple[int, ...]

_EPSILON = 1e-5
_ROPE_BASE = 1e9
# For programs that render what is in the file: messages of text, in Mistral's marks.
_CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == "system" -%} [SYSTEM_PROMPT]{{ message.content }}[/SYSTEM_PROMPT]
{%- elif message.role == "user" -%} [INST]{{ message.content }}[/INST]
{%- else -%} {{ message.content }}{{ eos_token }}
{%- endif -%}
{%- endfor -%}"""
_LAYER = re.compile(r"^blk\.\d+\.")  # not part of what a matrix is drawn by


@dataclass(frozen=True, slots=True, kw_only=True)
class TextShape:
    """Dimensions of the language model; by default Mistral Small 3.2's, 23.57 B weights.

    What a row may be as long as (`width`, `hidden`, all heads together) is a multiple of 256.
    """

    layers: int = 40
    width: int = 5120
    hidden: int = 32768
    heads: int = 32
    kv_heads: int = 8
    head_width: int = 128
    vocabulary: int = FULL_SIZE
    context: int = 131_072

    def __post_init__(self) -> None:
        """Refuse what llama.cpp would not load."""
        if not 1 <= self.layers <= MAX_LAYERS:
            raise Refused(f"--layers {self.layers} is not between 1 and {MAX_LAYERS}")


def write_text_model(path: Path, shape: TextShape, quant: LlamaFileType, seed: int = 0) -> None:
    """Write a model as `quant`, one tensor in memory at a time.

    Raises:
        Refused: noise cannot be quantized so, or the disk has no room for it.
    """
    kinds = text_mix(shape, quant)
    check_room(path, text_size(shape, kinds))
    with closing(_described(path, shape)) as writer:
        writer.add_file_type(quant)
        writer.add_quantization_version(GGML_QUANT_VERSION)
        Tekken(shape.vocabulary).write(writer)
        writer.add_chat_template(_CHAT_TEMPLATE)
        for name, dimensions in text_layout(shape):
            size = byte_size(dimensions, kinds[name])
            writer.add_tensor_info(name, dimensions, np.dtype(np.float32), size, kinds[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for stored in _tensors(shape, kinds, seed):
            writer.write_tensor_data(stored)


def text_mix(shape: TextShape, quant: LlamaFileType) -> Mix:
    """Type of every tensor, by name, in a published file of this shape and `quant`."""

    def write_sample(path: Path) -> None:
        with closing(_described(path, shape)) as writer:
            writer.add_vocab_size(shape.vocabulary)
            for name, (rows, *columns) in text_layout(shape):
                dimensions, kind = ((2, *columns), np.float16) if columns else ((rows,), np.float32)
                writer.add_tensor(name, np.zeros(dimensions, kind))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()

    return mix(quant, write_sample)


def text_size(shape: TextShape, kinds: Mix) -> int:
    """Bytes of all tensors; the keys and the vocabulary come to some 8 MB more."""
    return sum(byte_size(dimensions, kinds[name]) for name, dimensions in text_layout(shape))


def text_layout(shape: TextShape) -> Iterator[tuple[str, Dimensions]]:
    """Names and dimensions, rows first: the reverse of GGUF's order on disk."""
    width, hidden = shape.width, shape.hidden
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    yield "token_embd.weight", (shape.vocabulary, width)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", (width,)
        yield f"{block}.attn_q.weight", (queries, width)
        yield f"{block}.attn_k.weight", (keys, width)
        yield f"{block}.attn_v.weight", (keys, width)
        yield f"{block}.attn_output.weight", (width, queries)
        yield f"{block}.ffn_norm.weight", (width,)
        yield f"{block}.ffn_gate.weight", (hidden, width)
        yield f"{block}.ffn_up.weight", (hidden, width)
        yield f"{block}.ffn_down.weight", (width, hidden)
    yield "output_norm.weight", (width,)
    yield "output.weight", (shape.vocabulary, width)


def _described(path: Path, shape: TextShape) -> GGUFWriter:
    """A writer that has every key but those of the vocabulary and the quantization."""
    writer = GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_name("Synthetic Mistral Small 3.2")
    writer.add_description("Random weights, for measuring speed and memory.")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(_ROPE_BASE)
    writer.add_layer_norm_rms_eps(_EPSILON)
    return writer


def _tensors(shape: TextShape, kinds: Mix, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Bytes of every tensor in the layout's order; norms are 1."""
    noise = Noise(seed)
    for name, (rows, *columns) in text_layout(shape):
        if columns:
            yield noise.matrix(_LAYER.sub("", name), rows, *columns, kinds[name])
        else:
            yield quantize(np.ones((1, rows), np.float32), kinds[name])
