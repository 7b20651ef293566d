"""Writes tiny GGUF models with random weights: real enough for llama.cpp to load and decode.

A byte-level vocabulary (GPT-2's alphabet, so any text can be encoded) of 300 odd tokens, a layer
or two of width 64, some 150 kB a file. The same arguments give the same bytes. What such a
model says is noise; what it does is what any llama-architecture model does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scripts.toy.tekken import Tekken

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROLS = ("<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>")
WORDS = ("the", "an", "in", "on", "er", "he", "re", "th", "ou", "at", "it", "is", "to", "and")

_FILE_TYPES = {
    GGMLQuantizationType.F32: LlamaFileType.ALL_F32,
    GGMLQuantizationType.F16: LlamaFileType.MOSTLY_F16,
    GGMLQuantizationType.Q8_0: LlamaFileType.MOSTLY_Q8_0,
    GGMLQuantizationType.Q4_0: LlamaFileType.MOSTLY_Q4_0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyShape:
    """The model's dimensions; `kv_heads` divides `heads`, `heads` divides `width`."""

    layers: int = 1
    width: int = 64
    hidden: int = 96
    heads: int = 4
    kv_heads: int = 2
    context: int = 512


def write_tiny_model(
    path: Path,
    *,
    architecture: str = "llama",
    name: str = "Tiny",
    chat_template: str | None = CHATML,
    extra_controls: Sequence[str] = (),
    extra_words: Sequence[str] = (),
    tekken: Tekken | None = None,
    shape: TinyShape | None = None,
    weights: GGMLQuantizationType = GGMLQuantizationType.F16,
    parts: int = 1,
    seed: int = 0,
    edit: Callable[[GGUFWriter], object] | None = None,
) -> Path:
    """Write a model to `path` (a directory that exists) and return the path to load it by.

    Args:
        architecture: `llama` or `mistral3`; others get the same keys and tensors.
        chat_template: None leaves the file without one.
        extra_controls: more control tokens, after CONTROLS.
        extra_words: more ordinary tokens, in plain text.
        tekken: Mistral's vocabulary in place of the byte-level one.
        weights: number format of the matrices (F32, F16, Q8_0 or Q4_0); vectors are F32.
        parts: more than one splits the file; `path` then lends its directory and stem.
        edit: changes the writer's keys (`kv_data`) and tensors before they are written, to make
            a file that is wrong in one particular way.
    """
    shape = shape or TinyShape()
    size = tekken.size if tekken else _vocabulary_size(extra_controls, extra_words)
    tensors = _tensors(shape, size, seed)
    writer = GGUFWriter(path, architecture, split_max_tensors=_tensors_per_part(tensors, parts))
    _add_facts(writer, name, shape, weights)
    if tekken:
        tekken.write(writer)
    else:
        _add_vocabulary(writer, extra_controls, extra_words)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for tensor_name, values in tensors.items():
        kind = weights if values.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(tensor_name, quantize(values, kind), raw_dtype=kind)
    if edit is not None:
        edit(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    written = writer.format_shard_names(path)[0] if parts > 1 else path
    writer.close()
    return written


def byte_alphabet() -> dict[int, str]:
    """GPT-2's letter for each byte: itself where it can be seen, else one from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in seen}
    hidden = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(0x100 + at) for at, byte in enumerate(hidden)}


def _tensors_per_part(tensors: dict[str, np.ndarray], parts: int) -> int:
    """The writer begins a new part after this many tensors; 0 never does."""
    return 0 if parts == 1 else -(-len(tensors) // parts)


def _add_facts(
    writer: GGUFWriter, name: str, shape: TinyShape, weights: GGMLQuantizationType
) -> None:
    writer.add_name(name)
    writer.add_file_type(_FILE_TYPES[weights])
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(shape.width // shape.heads)


def _vocabulary_size(extra_controls: Sequence[str], extra_words: Sequence[str]) -> int:
    return len(CONTROLS) + len(extra_controls) + 256 + len(_words(extra_words))


def _words(extra_words: Sequence[str]) -> list[str]:
    """Every multi-byte token, each buildable from the ones before it by one merge."""
    alphabet = byte_alphabet()
    words: dict[str, None] = {}
    for word in (*WORDS, *extra_words):
        letters = "".join(alphabet[byte] for byte in word.encode())
        words |= dict.fromkeys(letters[:end] for end in range(2, len(letters) + 1))
    return list(words)


def _add_vocabulary(
    writer: GGUFWriter, extra_controls: Sequence[str], extra_words: Sequence[str]
) -> None:
    controls = [*CONTROLS, *extra_controls]
    words = _words(extra_words)
    tokens = [*controls, *byte_alphabet().values(), *words]
    ordinary = len(tokens) - len(controls)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * len(controls) + [TokenType.NORMAL] * ordinary)
    writer.add_token_merges([f"{word[:-1]} {word[-1]}" for word in words])
    writer.add_bos_token_id(controls.index("<s>"))
    writer.add_eos_token_id(controls.index("<|im_end|>"))
    writer.add_unk_token_id(controls.index("<unk>"))
    writer.add_add_bos_token(False)


def _tensors(shape: TinyShape, vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    """Name to values; matrices are rows by columns, the reverse of GGUF's order on disk."""
    random = np.random.default_rng(seed)
    kv_width = shape.width // shape.heads * shape.kv_heads

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    def ones() -> np.ndarray:
        return np.ones(shape.width, np.float32)

    tensors = {"token_embd.weight": matrix(vocabulary, shape.width)}
    for layer in range(shape.layers):
        tensors |= {
            f"blk.{layer}.attn_norm.weight": ones(),
            f"blk.{layer}.attn_q.weight": matrix(shape.width, shape.width),
            f"blk.{layer}.attn_k.weight": matrix(kv_width, shape.width),
            f"blk.{layer}.attn_v.weight": matrix(kv_width, shape.width),
            f"blk.{layer}.attn_output.weight": matrix(shape.width, shape.width),
            f"blk.{layer}.ffn_norm.weight": ones(),
            f"blk.{layer}.ffn_gate.weight": matrix(shape.hidden, shape.width),
            f"blk.{layer}.ffn_up.weight": matrix(shape.hidden, shape.width),
            f"blk.{layer}.ffn_down.weight": matrix(shape.width, shape.hidden),
        }
    return tensors | {
        "output_norm.weight": ones(),
        "output.weight": matrix(vocabulary, shape.width),
    }
