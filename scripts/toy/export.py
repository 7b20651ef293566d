"""The network as the two GGUF files that llama.cpp loads: the language model and the projector.

Names and keys are those of the real model's files. `save_pretrained` and llama.cpp's own converter
would lose the embedding of `[IMG_BREAK]`, which the projector's file has to carry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf.quants import quantize

from scripts.toy.drawings import DEVIATION, MEAN
from scripts.toy.encoding import IMG_BREAK
from scripts.toy.tekken import Tekken

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import Mistral3ForConditionalGeneration

    Tensors = dict[str, NDArray[np.float32]]

F16, F32 = GGMLQuantizationType.F16, GGMLQuantizationType.F32
_FILE_TYPES = {F16: LlamaFileType.MOSTLY_F16, F32: LlamaFileType.ALL_F32}
_NAME = "Mistral Small Edge Toy"

# Ours -> theirs, within a layer.
_TEXT_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_VISION_LAYER = {
    "ln1": "attention_norm",
    "attn_q": "attention.q_proj",
    "attn_k": "attention.k_proj",
    "attn_v": "attention.v_proj",
    "attn_out": "attention.o_proj",
    "ln2": "ffn_norm",
    "ffn_gate": "feed_forward.gate_proj",
    "ffn_up": "feed_forward.up_proj",
    "ffn_down": "feed_forward.down_proj",
}


def write_model(
    model: Mistral3ForConditionalGeneration, path: Path, kind: GGMLQuantizationType = F16
) -> None:
    """The language model; matrices are stored as `kind`, vectors as F32."""
    text = model.config.text_config
    writer = GGUFWriter(path, "mistral3")
    _describe(writer, kind)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_rope_dimension_count(text.head_dim)
    writer.add_rope_freq_base(text.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_vocab_size(text.vocab_size)
    Tekken(text.vocab_size).write(writer)
    _write(writer, _text_tensors(model), kind)


def write_projector(
    model: Mistral3ForConditionalGeneration, path: Path, kind: GGMLQuantizationType = F16
) -> None:
    """The vision tower and the projector; matrices are stored as `kind`, vectors as F32."""
    vision = model.config.vision_config
    writer = GGUFWriter(path, "clip")
    _describe(writer, kind)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("pixtral")
    writer.add_vision_use_silu(True)
    writer.add_vision_projection_dim(model.config.text_config.hidden_size)
    writer.add_vision_image_size(vision.image_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_block_count(vision.num_hidden_layers)
    writer.add_vision_head_count(vision.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_image_mean(MEAN.tolist())
    writer.add_vision_image_std(DEVIATION.tolist())
    writer.add_vision_spatial_merge_size(model.config.spatial_merge_size)
    _write(writer, _projector_tensors(model), kind)


def _describe(writer: GGUFWriter, kind: GGMLQuantizationType) -> None:
    writer.add_name(_NAME)
    writer.add_description("A test and demonstration asset: it knows a few drawings and facts.")
    writer.add_license("apache-2.0")
    writer.add_file_type(_FILE_TYPES[kind])


def _write(writer: GGUFWriter, tensors: Tensors, kind: GGMLQuantizationType) -> None:
    for name, values in tensors.items():
        # llama.cpp convolves patches with F16 weights by itself, and reads F32 ones.
        stored = kind if values.ndim == 2 else F32
        writer.add_tensor(name, quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _text_tensors(model: Mistral3ForConditionalGeneration) -> Tensors:
    text, weights = model.config.text_config, _weights(model)
    heads = {"attn_q": text.num_attention_heads, "attn_k": text.num_key_value_heads}
    tensors = {
        "token_embd.weight": weights["model.language_model.embed_tokens.weight"],
        "output_norm.weight": weights["model.language_model.norm.weight"],
        "output.weight": weights["lm_head.weight"],
    }
    for layer in range(text.num_hidden_layers):
        for ours, theirs in _TEXT_LAYER.items():
            values = weights[f"model.language_model.layers.{layer}.{theirs}.weight"]
            tensors[f"blk.{layer}.{ours}.weight"] = _paired(values, heads.get(ours))
    return tensors


def _projector_tensors(model: Mistral3ForConditionalGeneration) -> Tensors:
    vision, weights = model.config.vision_config, _weights(model)
    tower, projector = "model.vision_tower", "model.multi_modal_projector"
    embeddings = weights["model.language_model.embed_tokens.weight"]
    tensors = {
        "v.patch_embd.weight": weights[f"{tower}.patch_conv.weight"],
        "v.pre_ln.weight": weights[f"{tower}.ln_pre.weight"],
        "mm.input_norm.weight": weights[f"{projector}.norm.weight"],
        "mm.patch_merger.weight": weights[f"{projector}.patch_merger.merging_layer.weight"],
        "mm.1.weight": weights[f"{projector}.linear_1.weight"],
        "mm.2.weight": weights[f"{projector}.linear_2.weight"],
        "v.token_embd.img_break": embeddings[IMG_BREAK],
    }
    heads = dict.fromkeys(("attn_q", "attn_k"), vision.num_attention_heads)
    for layer in range(vision.num_hidden_layers):
        for ours, theirs in _VISION_LAYER.items():
            values = weights[f"{tower}.transformer.layers.{layer}.{theirs}.weight"]
            tensors[f"v.blk.{layer}.{ours}.weight"] = _paired(values, heads.get(ours))
    return tensors


def _weights(model: Mistral3ForConditionalGeneration) -> Tensors:
    return {name: values.float().numpy() for name, values in model.state_dict().items()}


def _paired(values: NDArray[np.float32], heads: int | None) -> NDArray[np.float32]:
    """Rows in ggml's order: what is rotated together stands together, not half a head apart."""
    if heads is None:
        return values
    halves = values.reshape(heads, 2, -1, values.shape[-1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
