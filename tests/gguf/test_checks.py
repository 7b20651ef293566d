"""Well-formed GGUF files that llama.cpp would not survive, or could make nothing of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gguf import GGMLQuantizationType

from mistral_small_edge.gguf import read_header
from tests.gguf.edits import (
    BOOL,
    F32,
    I32,
    STRING,
    TOKENS,
    U32,
    Edit,
    all_of,
    array,
    field,
    refusal,
    renamed_token,
    sentencepiece,
    with_format,
    without,
    without_tensor,
)
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

# Each of these took llama.cpp down before it was refused, or would make no sense further on.
HOPELESS: list[tuple[str, Edit, str]] = [
    ("block_count", field("llama.block_count", 0, U32), "is 0; it must lie between 1 and 512"),
    ("block_count", field("llama.block_count", 513, U32), "is 513; it must lie between 1 and 512"),
    ("block_count", without("llama.block_count"), "llama.block_count is missing"),
    ("block_count", field("llama.block_count", 1, I32), "is stored as INT32, not as UINT32"),
    ("block_count", field("llama.block_count", 2, U32), "the tensor blk.1.attn_norm.weight"),
    (
        "block_count",
        array("llama.block_count", [1], U32),
        "is stored as array of UINT32, not as UINT32",
    ),
    ("embedding", field("llama.embedding_length", 66, U32), "4 heads do not divide 66"),
    ("context", field("llama.context_length", 0, U32), "must lie between 1 and"),
    ("heads", field("llama.attention.head_count", 0, U32), "layer 0 has 0 heads on 2 KV heads"),
    ("heads", without("llama.attention.head_count"), "layer 0 has 0 heads"),
    ("KV heads", field("llama.attention.head_count_kv", 0, U32), "4 heads on 0 KV heads"),
    ("KV heads", field("llama.attention.head_count_kv", 3, U32), "4 heads on 3 KV heads"),
    ("KV heads", array("llama.attention.head_count_kv", [2, 2], U32), "2 values for 1 layers"),
    ("KV heads", array("llama.attention.head_count_kv", [-2], I32), "is -2; it must lie"),
    ("value width", field("llama.attention.value_length", 8, U32), "keys of 16, values of 8"),
    ("rotation", field("llama.rope.dimension_count", 8, U32), "and 8 rotated numbers"),
    ("scaling", field("llama.rope.scaling.type", "bogus", STRING), "is 'bogus'; it must be one of"),
    ("epsilon", field("llama.attention.layer_norm_rms_epsilon", -1.0, F32), "epsilon is -1.0"),
    ("rope base", field("llama.rope.freq_base", float("nan"), F32), "rope.freq_base is nan"),
    ("experts", field("llama.expert_count", 8, U32), "0 of 8 experts used"),
    ("experts", field("llama.expert_count", 2000, U32), "must lie between 0 and 1024"),
    ("experts", field("llama.expert_used_count", 2, U32), "2 of 0 experts used"),
    ("experts", field("llama.expert_group_count", 2, U32), "0 of 2 groups"),
    ("next tokens", field("llama.nextn_predict_layers", 2, U32), "between 0 and 1"),
    ("encoder", field("llama.attention.causal", False, BOOL), "cannot write any"),
    ("architecture", without("general.architecture"), "general.architecture is missing"),
    ("architecture", field("general.architecture", 7, U32), "is stored as UINT32, not as STRING"),
    ("architecture", field("general.architecture", "a\x1b[1m", STRING), "is 'a\\x1b[1m'"),
    ("name", field("general.name", "x" * 70_000, STRING), "is 70,000 bytes long"),
    ("template", field("tokenizer.chat_template", "x" * (1 << 21), STRING), "2,097,152 bytes long"),
    ("alignment", field("general.alignment", 48, U32), "must be a power of two, 32 or more"),
    ("alignment", field("general.alignment", 8, U32), "must be a power of two, 32 or more"),
    ("alignment", field("general.alignment", 32, I32), "is stored as INT32, not as UINT32"),
    ("split", field("split.count", 2, U32), "split.count is stored as UINT32, not as UINT16"),
    ("no vocabulary", field("tokenizer.ggml.model", "none", STRING), "it has no vocabulary"),
    ("no vocabulary", without("tokenizer.ggml.model"), "tokenizer.ggml.model is missing"),
    ("vocabulary", field("tokenizer.ggml.model", "rwkv", STRING), "of the kind 'rwkv'"),
    ("splitter", field("tokenizer.ggml.pre", "whitespace", STRING), "is 'whitespace'"),
    ("tokens", without(TOKENS), "tokenizer.ggml.tokens is missing or empty"),
    (
        "tokens",
        array(TOKENS, [1] * 275, I32),
        "is stored as array of INT32, not as array of STRING",
    ),
    ("same token", renamed_token(70, "A"), "has the token 'A' twice"),
    ("same token, cut", renamed_token(70, "A\0z"), "has the token 'A' twice"),
    (
        "made-up token",
        all_of(renamed_token(70, "[EMPTY_71]"), renamed_token(71, "")),
        "'[EMPTY_71]'",
    ),
    ("types", array("tokenizer.ggml.token_type", [1] * 9, I32), "9 values for 275 tokens"),
    ("types", array("tokenizer.ggml.token_type", [1] * 275, U32), "not as array of INT32"),
    ("scores", array("tokenizer.ggml.scores", [1.0] * 9, F32), "9 values for 275 tokens"),
    ("merges", array("tokenizer.ggml.merges", [1.0], F32), "not as array of STRING"),
    ("byte tokens", sentencepiece(bytes_known=200), "no token for the byte 0xc8"),
    (
        "begin token",
        all_of(
            field("tokenizer.ggml.add_bos_token", True, BOOL),
            without("tokenizer.ggml.bos_token_id"),
        ),
        "add_bos_token is true and tokenizer.ggml.bos_token_id is missing",
    ),
    ("embedding tensor", without_tensor("token_embd.weight"), "token_embd.weight is missing"),
    ("norm tensor", without_tensor("output_norm.weight"), "output_norm.weight is missing"),
    ("no tensors", lambda writer: writer.tensors[0].clear(), "it holds no tensors"),
    (
        "vocabulary shape",
        array(TOKENS, [f"t{at}" for at in range(274)], STRING),
        "token_embd.weight has the shape (64, 275), not (64, 274)",
    ),
    *(
        (
            f"{kind.name} {name}",
            with_format(name, kind),
            f"{name} cannot be in the format {kind.name}",
        )
        for name, kinds in {
            "token_embd.weight": ("I8", "I32", "F64"),
            "output.weight": ("Q8_1", "I16"),
            "blk.0.attn_q.weight": ("I64",),
            "blk.0.attn_norm.weight": ("F16", "BF16", "Q8_0"),
            "rope_freqs.weight": ("F16",),
            "blk.0.attn_k.bias": ("F16",),
        }.items()
        for kind in map(GGMLQuantizationType.__getitem__, kinds)
    ),
]


@pytest.mark.parametrize(
    ("edit", "reason"), [case[1:] for case in HOPELESS], ids=[c[0] for c in HOPELESS]
)
def test_hopeless_models_are_refused(tmp_path: Path, edit: Edit, reason: str) -> None:
    assert reason in refusal(write_tiny_model(tmp_path / "a.gguf", edit=edit))


@pytest.mark.parametrize(
    "edit",
    [
        # A padding id beyond the vocabulary is common in fine-tunes; llama.cpp ignores it.
        field("tokenizer.ggml.padding_token_id", 275, U32),
        without("llama.rope.dimension_count"),
        without("llama.attention.head_count_kv"),
        all_of(renamed_token(70, ""), renamed_token(71, "")),
        with_format("blk.0.ffn_down.weight", GGMLQuantizationType.IQ4_NL),
    ],
)
def test_oddities_that_do_no_harm_are_accepted(tmp_path: Path, edit: Edit) -> None:
    path = write_tiny_model(tmp_path / "a.gguf", edit=edit, shape=TinyShape(kv_heads=4))
    assert read_header(path).vocab_size == 275
