"""What a projector file (mmproj) says: the part of Mistral Small that looks at pictures.

llama.cpp trusts it even more than a model's file. A key of another type ends the process, and so
does a matrix that is missing; without a norm or a switch it silently computes another network. So
everything that it reads is checked here, and what it would read or overlook besides is refused.
The weights' values are not looked at, but for the break between rows of a picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, Keys

from mistral_small_edge.gguf.checks import NO_WEIGHTS, PROJECTOR, Facts
from mistral_small_edge.gguf.container import Tensor, open_container
from mistral_small_edge.gguf.header import quantization_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

KIND = "pixtral"
PATCH_SIZE = 14
SPATIAL_MERGE_SIZE = 2
MAX_LAYERS = 128  # with 200 llama.cpp still has room for the graph, with 240 it aborts
MAX_IMAGE_SIZE = 8192  # llama.cpp's
ROW_BREAK = "v.token_embd.img_break"

_CELL = PATCH_SIZE * SPATIAL_MERGE_SIZE
_ROPE_BASE = 10000.0  # llama.cpp's, whatever the file says
_HEAD_STEP = 4  # half of a head is rotated by rows, half by columns, both in pairs
_CHANNELS = 3

# Nothing in Mistral Small's projector depends on these, and llama.cpp aborts on other types.
_TYPED = {
    Keys.General.NAME: GGUFValueType.STRING,
    Keys.General.DESCRIPTION: GGUFValueType.STRING,
    "clip.vision.mm_patch_merge_type": GGUFValueType.STRING,
    "clip.minicpmv_version": GGUFValueType.INT32,
    "clip.minicpmv_query_num": GGUFValueType.UINT32,
}

# llama.cpp adds to and multiplies by F32 vectors only; matrices may be in any format that it has
# kernels for (and that the gguf package, which reads the row break, has heard of).
_VECTOR = frozenset({"F32"})
_PATCHES = frozenset({"F32", "F16", "BF16"})
_MATRIX = frozenset(kind.name for kind in GGMLQuantizationType) - frozenset(NO_WEIGHTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorHeader:
    """One projector's facts.

    Attributes:
        path: the file.
        projection_dim: numbers that stand for a token, which are the language model's.
        block_count: layers of the vision tower.
        embedding_length: numbers that stand for a patch between layers.
        feed_forward_length: of every layer.
        head_count: of every layer; they divide `embedding_length`.
        image_size: pixels of a picture's longest side.
        patch_size: pixels of a patch's side.
        spatial_merge_size: patches a side that become one token.
        quantization: `F16` and the like.
        parameter_bytes: of all tensors.
        file_size: bytes.
    """

    path: Path
    projection_dim: int
    block_count: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    image_size: int
    patch_size: int
    spatial_merge_size: int
    quantization: str
    parameter_bytes: int
    file_size: int


def is_projector(path: Path) -> bool:
    """Whether a file says that it is one, sound or not.

    Raises:
        ModelLoadFailed: it says nothing that can be read.
    """
    with open_container(path) as container:
        return Facts(container).architecture == PROJECTOR


def read_projector(path: Path) -> ProjectorHeader:
    """Read and check the header of Mistral Small's projector.

    Raises:
        ModelLoadFailed: it is no GGUF, damaged, cut short, another kind of projector, a language
            model, or something that llama.cpp would not survive or compute wrongly.
    """
    with open_container(path) as container:
        facts = Facts(container)
        _check_kind(facts)
        _check_switches(facts)
        if not container.tensors:
            container.refuse("it holds no tensors")
        header = _header(facts)
        _check_numbers(facts)
        _check_heads(facts, header)
        _check_tensors(facts, header, container.tensors)
        return header


def read_row_break(path: Path) -> NDArray[np.float32]:
    """(projection_dim,): what stands for `[IMG_BREAK]`, after every row of a picture but the last.

    Raises:
        ModelLoadFailed: as `read_projector`.
    """
    read_projector(path)
    (row_break,) = (tensor for tensor in GGUFReader(path).tensors if tensor.name == ROW_BREAK)
    return np.array(row_break.data, np.float32)  # a copy: the reader's is the file itself


def _header(facts: Facts) -> ProjectorHeader:
    container = facts.container
    return ProjectorHeader(
        path=container.path,
        projection_dim=facts.count("vision.projection_dim", least=1),
        block_count=facts.count("vision.block_count", least=1, most=MAX_LAYERS),
        embedding_length=facts.count("vision.embedding_length", least=1),
        feed_forward_length=facts.count("vision.feed_forward_length", least=1),
        head_count=facts.count("vision.attention.head_count", least=1),
        image_size=facts.count("vision.image_size", least=_CELL, most=MAX_IMAGE_SIZE),
        patch_size=_exactly(facts, "vision.patch_size", PATCH_SIZE),
        spatial_merge_size=_exactly(facts, "vision.spatial_merge_size", SPATIAL_MERGE_SIZE),
        quantization=quantization_label(facts, container.tensors),
        parameter_bytes=sum(tensor.size for tensor in container.tensors.values()),
        file_size=container.size,
    )


def _check_kind(facts: Facts) -> None:
    if facts.architecture != PROJECTOR:
        facts.refuse(f"it is a model of the architecture {facts.architecture!r} and no projector")
    # The second is read when the first is not there or empty.
    kind = facts.text("clip.projector_type", "") or facts.text("clip.vision.projector_type", "")
    if not kind:
        facts.refuse("clip.projector_type is missing")
    if kind != KIND:
        facts.refuse(f"it is a projector of the kind {kind[:40]!r}; Mistral Small's is {KIND!r}")


def _check_switches(facts: Facts) -> None:
    for key, needed in (("clip.has_vision_encoder", True), ("clip.use_silu", True)):
        if facts.flag(key) is not needed:
            facts.refuse(f"{key} is missing or false")
    for key in ("clip.has_audio_encoder", "clip.has_gen_audio_encoder", "clip.use_gelu"):
        if facts.flag(key):
            facts.refuse(f"{key} is true, which Mistral Small's projector does not have")


def _exactly(facts: Facts, name: str, wanted: int) -> int:
    value = facts.count(name)
    if value != wanted:
        facts.refuse(f"{facts.key(name)} is {value}; Mistral Small's is {wanted}")
    return value


def _check_numbers(facts: Facts) -> None:
    for key, kind in _TYPED.items():
        facts.field(key, kind)
    epsilon = "clip.vision.attention.layer_norm_epsilon"
    if not 0 < _real(facts, epsilon) < 1:
        facts.refuse(f"{epsilon} is {_real(facts, epsilon)}; it must lie between 0 and 1")
    base = "clip.rope.freq_base"
    if base in facts.container.fields and _real(facts, base) != _ROPE_BASE:
        facts.refuse(f"{base} is {_real(facts, base)}; llama.cpp rotates by {_ROPE_BASE}")
    mean, deviation = "clip.vision.image_mean", "clip.vision.image_std"
    if not all(map(math.isfinite, _colour(facts, mean))):
        facts.refuse(f"{mean} is {_colour(facts, mean)}")
    if not all(0 < value < math.inf for value in _colour(facts, deviation)):
        facts.refuse(f"{deviation} is {_colour(facts, deviation)}; pictures are divided by it")


def _real(facts: Facts, key: str) -> float:
    if facts.field(key, GGUFValueType.FLOAT32) is None:
        facts.refuse(f"{key} is missing")
    return facts.container.number(key)


def _colour(facts: Facts, key: str) -> tuple[float, ...]:
    """Numbers for red, green and blue."""
    field = facts.field(key, GGUFValueType.FLOAT32, array=True)
    if field is None:
        facts.refuse(f"{key} is missing")
    if field.count != _CHANNELS:
        facts.refuse(f"{key} has {field.count:,} values; it must have {_CHANNELS}")
    return facts.container.numbers(key)


def _check_heads(facts: Facts, header: ProjectorHeader) -> None:
    width, heads = header.embedding_length, header.head_count
    if width % heads or width // heads % _HEAD_STEP:
        facts.refuse(
            f"{heads} heads do not divide {width} numbers evenly, into multiples of {_HEAD_STEP}"
        )
    for name, wanted in (("head_count_kv", heads), ("head_dim", width // heads)):
        key = f"vision.attention.{name}"
        if facts.count(key, default=wanted) != wanted:
            facts.refuse(
                f"{facts.key(key)} is {facts.count(key)}; with {heads} heads it is {wanted}"
            )


def _check_tensors(facts: Facts, header: ProjectorHeader, tensors: Mapping[str, Tensor]) -> None:
    expected = {name: (shape, formats) for name, shape, formats in _layout(header)}
    optional = {f"mm.{at}.bias": ((header.projection_dim,), _VECTOR) for at in (1, 2)}
    for name in expected:
        if name not in tensors:
            facts.refuse(f"the tensor {name} is missing")
    for name, tensor in tensors.items():
        if name not in expected and name not in optional:
            facts.refuse(
                f"the tensor {name} is not part of a projector of {header.block_count} layers "
                f"of the kind {KIND!r}"
            )
        shape, formats = expected.get(name) or optional[name]
        if tensor.shape != shape:
            facts.refuse(f"the tensor {name} has the shape {tensor.shape}, not {shape}")
        if tensor.format not in formats:
            facts.refuse(f"the tensor {name} cannot be in the format {tensor.format}")


def _layout(header: ProjectorHeader) -> Iterator[tuple[str, tuple[int, ...], frozenset[str]]]:
    """Name, shape (fastest dimension first) and number formats of every tensor."""
    width, hidden = header.embedding_length, header.feed_forward_length
    out, merged = header.projection_dim, width * SPATIAL_MERGE_SIZE**2
    yield "v.patch_embd.weight", (PATCH_SIZE, PATCH_SIZE, _CHANNELS, width), _PATCHES
    yield "v.pre_ln.weight", (width,), _VECTOR
    for layer in range(header.block_count):
        block = f"v.blk.{layer}"
        yield f"{block}.ln1.weight", (width,), _VECTOR
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield f"{block}.{name}.weight", (width, width), _MATRIX
        yield f"{block}.ln2.weight", (width,), _VECTOR
        yield f"{block}.ffn_gate.weight", (width, hidden), _MATRIX
        yield f"{block}.ffn_up.weight", (width, hidden), _MATRIX
        yield f"{block}.ffn_down.weight", (hidden, width), _MATRIX
    yield "mm.input_norm.weight", (width,), _VECTOR
    yield "mm.patch_merger.weight", (merged, width), _MATRIX
    yield "mm.1.weight", (width, out), _MATRIX
    yield "mm.2.weight", (out, out), _MATRIX
    yield ROW_BREAK, (out,), _VECTOR
