"""Mistral Small 3.2's projector in noise: its keys and dimensions, as F16."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFWriter, LlamaFileType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_PATCH = 14  # pixels
_MERGED = 2  # patches a side that become one token
_LONGEST_SIDE = 1540  # pixels
_EPSILON = 1e-5
# Of the pictures that the tower was trained with.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorShape:
    """Dimensions of a Pixtral projector; by default Mistral Small 3.2's, 878 MB."""

    layers: int = 24
    width: int = 1024
    heads: int = 16
    hidden: int = 4096
    projection_dim: int = 5120


def write_projector(path: Path, shape: ProjectorShape, seed: int = 0) -> None:
    """Write a projector as F16, one tensor in memory at a time."""
    with closing(projector_writer(path, shape)) as writer:
        for name, dimensions in projector_layout(shape):
            kind = np.dtype(storage(dimensions))
            writer.add_tensor_info(name, dimensions, kind, int(np.prod(dimensions)) * kind.itemsize)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, values in projector_tensors(shape, seed):
            writer.write_tensor_data(values)


def projector_writer(path: Path, shape: ProjectorShape) -> GGUFWriter:
    """A writer that has every key of a projector and none of its tensors."""
    writer = GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name("Synthetic projector")
    writer.add_description("Random weights, for measuring speed and memory.")
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("pixtral")
    writer.add_vision_use_silu(True)
    writer.add_vision_projection_dim(shape.projection_dim)
    writer.add_vision_image_size(_LONGEST_SIDE)
    writer.add_vision_patch_size(_PATCH)
    writer.add_vision_embedding_length(shape.width)
    writer.add_vision_feed_forward_length(shape.hidden)
    writer.add_vision_block_count(shape.layers)
    writer.add_vision_head_count(shape.heads)
    writer.add_vision_attention_layernorm_eps(_EPSILON)
    writer.add_vision_image_mean(_MEAN)
    writer.add_vision_image_std(_DEVIATION)
    writer.add_vision_spatial_merge_size(_MERGED)
    return writer


def projector_layout(shape: ProjectorShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and dimensions, rows first: the reverse of GGUF's order on disk."""
    width, hidden, out = shape.width, shape.hidden, shape.projection_dim
    yield "v.patch_embd.weight", (width, 3, _PATCH, _PATCH)
    yield "v.pre_ln.weight", (width,)
    for layer in range(shape.layers):
        block = f"v.blk.{layer}"
        for norm in ("ln1", "ln2"):
            yield f"{block}.{norm}.weight", (width,)
        for matrix in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield f"{block}.{matrix}.weight", (width, width)
        for matrix in ("ffn_gate", "ffn_up"):
            yield f"{block}.{matrix}.weight", (hidden, width)
        yield f"{block}.ffn_down.weight", (width, hidden)
    yield "mm.input_norm.weight", (width,)
    yield "mm.patch_merger.weight", (width, width * _MERGED**2)
    yield "mm.1.weight", (out, width)
    yield "mm.2.weight", (out, out)
    yield "v.token_embd.img_break", (out,)


def projector_tensors(
    shape: ProjectorShape, seed: int
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Names and values: norms are 1, and a product with a matrix keeps a row's deviation."""
    random = np.random.default_rng(seed)
    for name, dimensions in projector_layout(shape):
        if len(dimensions) == 1 and "img_break" not in name:
            yield name, np.ones(dimensions, np.float32)
            continue
        values = random.standard_normal(dimensions, np.float32)
        values *= np.prod(dimensions[1:], dtype=np.float32) ** -0.5
        yield name, values.astype(storage(dimensions), copy=False)


def storage(dimensions: tuple[int, ...]) -> type[np.float16 | np.float32]:
    """Vectors stay F32, as llama.cpp wants them."""
    return np.float32 if len(dimensions) == 1 else np.float16
