"""Facts out of sound projectors; one-thing-wrong ones by name, and what they would do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.gguf_writer import TensorInfo

from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.gguf import read_projector, read_row_break
from mistral_small_edge.gguf.projector import MAX_LAYERS
from scripts.synthetic.projector import ProjectorShape, projector_tensors, storage, write_projector
from tests.gguf.edits import (
    BOOL,
    F32,
    I32,
    STRING,
    U32,
    Edit,
    all_of,
    array,
    field,
    refusal,
    with_format,
    without,
    without_tensor,
)
from tests.gguf.mutations import Original, mutate
from tests.tiny_gguf import write_tiny_model
from tests.tiny_projector import write_tiny_projector

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
TOY = ROOT / "models" / "toy" / "mmproj-mistral-small-edge-toy-f16.gguf"
MUTATIONS = 600
VISION = "clip.vision"
MEAN, STD, EPSILON = f"{VISION}.image_mean", f"{VISION}.image_std", "layer_norm_epsilon"
KIND, MERGER, BREAK = "clip.projector_type", "mm.patch_merger.weight", "v.token_embd.img_break"
PATCHES, QUERIES = "v.patch_embd.weight", "v.blk.0.attn_q.weight"


def count(name: str, value: int) -> Edit:
    return field(f"{VISION}.{name}", value, U32)


def tensor(name: str, *shape: int) -> Edit:
    """Give a tensor another shape, rows first, and small numbers; added if new."""

    values = np.full(shape, 0.01, storage(shape))
    kind = GGMLQuantizationType.F32 if len(shape) == 1 else GGMLQuantizationType.F16
    # The writer takes the values out of what it is given, so every file needs its own.
    return lambda writer: writer.tensors[0].update(
        {name: TensorInfo(shape, kind, values.nbytes, values)}
    )


# What is wrong, how the file is refused, and what llama.cpp makes of it: it may not load it, it
# may die of it, or look at pictures with another network, which is the worst.
WRONG: list[tuple[Edit, str, str]] = [
    # Keys that end the process by their type, and others that the loader refuses.
    (field(KIND, 7, U32), f"{KIND} is stored as UINT32, not as STRING", "died"),
    (field("clip.has_vision_encoder", 1, U32), "is stored as UINT32, not as BOOL", "died"),
    (field("clip.has_audio_encoder", 0, U32), "is stored as UINT32, not as BOOL", "died"),
    (field("clip.use_silu", 1, U32), "clip.use_silu is stored as UINT32, not as BOOL", "died"),
    (field("general.name", 1, U32), "general.name is stored as UINT32, not as STRING", "died"),
    (field("general.description", True, BOOL), "general.description is stored as BOOL", "died"),
    (field("clip.minicpmv_version", 1, U32), "is stored as UINT32, not as INT32", "died"),
    (field("clip.minicpmv_query_num", 1, I32), "is stored as INT32, not as UINT32", "died"),
    (field(f"{VISION}.mm_patch_merge_type", 1, U32), "stored as UINT32, not as STRING", "died"),
    (field(f"{VISION}.block_count", 1, I32), "is stored as INT32, not as UINT32", "died"),
    (field(f"{VISION}.spatial_merge_size", 2, I32), "is stored as INT32, not as UINT32", "died"),
    (field(f"{VISION}.attention.{EPSILON}", 1, U32), "as UINT32, not as FLOAT32", "died"),
    (field("clip.rope.freq_base", 10000, U32), "is stored as UINT32, not as FLOAT32", "seen"),
    (array(MEAN, [0, 0, 0], U32), "array of UINT32, not as array of FLOAT32", "not loaded"),
    (without(KIND), f"{KIND} is missing", "not loaded"),
    (without("clip.has_vision_encoder"), "clip.has_vision_encoder is missing", "not loaded"),
    (field("clip.has_vision_encoder", False, BOOL), "is missing or false", "not loaded"),
    *(
        (without(f"{VISION}.{name}"), f"{VISION}.{name} is missing", "not loaded")
        for name in (
            *("projection_dim", "block_count", "embedding_length", "feed_forward_length"),
            *("image_size", "patch_size", "attention.head_count", f"attention.{EPSILON}"),
        )
    ),
    # Switches and counts.
    (without("clip.use_silu"), "clip.use_silu is missing or false", "seen"),
    (field("clip.use_silu", False, BOOL), "clip.use_silu is missing or false", "seen"),
    (field("clip.use_gelu", True, BOOL), "clip.use_gelu is true", "not loaded"),
    (field("clip.has_audio_encoder", True, BOOL), "clip.has_audio_encoder is true", "not loaded"),
    (field("clip.has_gen_audio_encoder", True, BOOL), "gen_audio_encoder is true", "not loaded"),
    (without(f"{VISION}.spatial_merge_size"), "spatial_merge_size is missing", "died"),
    (count("spatial_merge_size", 0), "spatial_merge_size is 0; Mistral Small's is 2", "not loaded"),
    (count("spatial_merge_size", 1), "spatial_merge_size is 1; Mistral Small's is 2", "died"),
    (count("spatial_merge_size", 4), "spatial_merge_size is 4; Mistral Small's is 2", "died"),
    (count("patch_size", 0), "patch_size is 0; Mistral Small's is 14", "not loaded"),
    (count("patch_size", 16), "patch_size is 16; Mistral Small's is 14", "seen"),
    (count("image_size", 0), "image_size is 0; it must lie between 28 and 8192", "seen"),
    (count("image_size", 9000), "image_size is 9000; it must lie between", "not loaded"),
    (count("block_count", 0), "block_count is 0; it must lie between 1 and 128", "died"),
    (count("block_count", 240), "block_count is 240; it must lie between 1 and 128", "not loaded"),
    (count("embedding_length", 0), "embedding_length is 0; it must lie", "not loaded"),
    (count("embedding_length", 64), f"{PATCHES} has the shape (14, 14, 3, 32), not", "died"),
    (count("feed_forward_length", 0), "feed_forward_length is 0; it must lie", "seen"),
    (count("feed_forward_length", 64), "has the shape (32, 48), not (32, 64)", "seen"),
    (count("projection_dim", 32), "mm.1.weight has the shape (32, 64), not (32, 32)", "seen"),
    (count("attention.head_count", 0), "head_count is 0; it must lie between 1", "died"),
    (count("attention.head_count", 3), "3 heads do not divide 32 numbers evenly", "died"),
    (count("attention.head_count", 16), "into multiples of 4", "died"),
    (count("attention.head_count_kv", 1), "head_count_kv is 1; with 2 heads it is 2", "died"),
    (count("attention.head_dim", 8), "head_dim is 8; with 2 heads it is 16", "died"),
    # Numbers.
    (field(f"{VISION}.attention.{EPSILON}", -1.0, F32), f"{EPSILON} is -1.0; it must", "died"),
    (field(f"{VISION}.attention.{EPSILON}", 0.0, F32), f"{EPSILON} is 0.0; it must", "seen"),
    (field(f"{VISION}.attention.{EPSILON}", float("nan"), F32), f"{EPSILON} is nan", "died"),
    (field("clip.rope.freq_base", 1e9, F32), "clip.rope.freq_base is 1000000000.0", "seen"),
    (without(MEAN), f"{MEAN} is missing", "not loaded"),
    (array(MEAN, [0.5, 0.5], F32), f"{MEAN} has 2 values; it must have 3", "not loaded"),
    (array(MEAN, [0.5, 0.5, float("inf")], F32), f"{MEAN} is (0.5, 0.5, inf)", "seen"),
    (array(STD, [0.5] * 4, F32), f"{STD} has 4 values; it must have 3", "seen"),
    (array(STD, [0.5, 0.0, 0.5], F32), f"{STD} is (0.5, 0.0, 0.5); pictures are", "seen"),
    # Tensors that are not there.
    *(
        (without_tensor(name), f"the tensor {name} is missing", fate)
        for name, fate in {
            PATCHES: "died",
            MERGER: "died",
            "mm.input_norm.weight": "died",
            "mm.1.weight": "not loaded",
            "mm.2.weight": "not loaded",
            BREAK: "not loaded",
            "v.pre_ln.weight": "seen",
            "v.blk.0.ln1.weight": "seen",
            "v.blk.0.ln2.weight": "seen",
            "v.blk.0.attn_q.weight": "died",
            "v.blk.0.attn_k.weight": "died",
            "v.blk.0.attn_v.weight": "died",
            "v.blk.0.attn_out.weight": "not loaded",
            "v.blk.0.ffn_gate.weight": "seen",
            "v.blk.0.ffn_up.weight": "not loaded",
            "v.blk.0.ffn_down.weight": "not loaded",
        }.items()
    ),
    (lambda writer: writer.tensors[0].clear(), "it holds no tensors", "not loaded"),
    # Tensors that should not be there.
    (count("block_count", 2), "the tensor v.blk.1.ln1.weight is missing", "not loaded"),
    (tensor("v.blk.1.ln1.weight", 32), "v.blk.1.ln1.weight is not part of", "seen"),
    (tensor("v.patch_embd.bias", 32), "v.patch_embd.bias is not part of", "seen"),
    (tensor("v.blk.0.attn_q.bias", 32), "v.blk.0.attn_q.bias is not part of", "seen"),
    (tensor("v.post_ln.weight", 32), "v.post_ln.weight is not part of a projector", "seen"),
    (tensor("v.class_embd", 32), "v.class_embd is not part of a projector of 1", "died"),
    (tensor("v.blk.0.ls1.weight", 32), "v.blk.0.ls1.weight is not part of", "seen"),
    (tensor("a.conv1d.0.weight", 32), "a.conv1d.0.weight is not part of", "seen"),
    # Shapes.
    (tensor(PATCHES, 32, 3, 16, 16), f"{PATCHES} has the shape (16, 16, 3, 32), not", "died"),
    (tensor("v.blk.0.attn_q.weight", 64, 32), "has the shape (32, 64), not (32, 32)", "died"),
    (tensor("v.blk.0.ffn_up.weight", 64, 32), "has the shape (32, 64), not (32, 48)", "died"),
    (tensor("v.pre_ln.weight", 16), "v.pre_ln.weight has the shape (16,), not (32,)", "seen"),
    (tensor("v.blk.0.ln1.weight", 1), "has the shape (1,), not (32,)", "seen"),
    (tensor(MERGER, 32, 32), f"{MERGER} has the shape (32, 32), not (128, 32)", "died"),
    (tensor("mm.2.weight", 32, 64), "mm.2.weight has the shape (64, 32), not", "not loaded"),
    (tensor("mm.1.bias", 32), "mm.1.bias has the shape (32,), not (64,)", "seen"),
    (tensor(BREAK, 32), f"{BREAK} has the shape (32,), not (64,)", "seen"),
    # Number formats.
    *(
        (with_format(name, kind), f"the tensor {name} cannot be in the format {kind.name}", fate)
        for name, fate, kinds in (
            ("v.blk.0.ln1.weight", "died", ("F16", "BF16", "Q8_0")),
            ("mm.input_norm.weight", "died", ("F16",)),
            (BREAK, "died", ("F16", "BF16")),
            (PATCHES, "died", ("F64",)),
            (QUERIES, "died", ("I8", "I32", "F64")),
            (QUERIES, "not loaded", ("Q8_1",)),
            (MERGER, "died", ("I64",)),
        )
        for kind in map(GGMLQuantizationType.__getitem__, kinds)
    ),
    (
        with_format("v.blk.0.ffn_down.weight", GGMLQuantizationType.Q8_0),
        "v.blk.0.ffn_down.weight has rows of 48, Q8_0 takes multiples of 32",
        "not loaded",
    ),
]

SOUND: list[Edit] = [
    all_of(),
    tensor("mm.1.bias", 64),
    tensor("mm.2.bias", 64),
    all_of(without(KIND), field(f"{VISION}.projector_type", "pixtral", STRING)),
    all_of(field(KIND, "", STRING), field(f"{VISION}.projector_type", "pixtral", STRING)),
    all_of(without("general.name"), without("general.file_type"), without("general.type")),
    field("clip.rope.freq_base", 10000.0, F32),
    count("attention.head_count_kv", 2),
    count("attention.head_dim", 16),
    *(
        with_format(PATCHES, GGMLQuantizationType.F32),
        with_format(PATCHES, GGMLQuantizationType.BF16),
        with_format(QUERIES, GGMLQuantizationType.Q8_0),
        with_format(MERGER, GGMLQuantizationType.IQ4_NL),
    ),
]


def projector_refusal(path: Path) -> str:
    """Why the file is refused, as a projector."""
    with pytest.raises(ModelLoadFailed) as caught:
        read_projector(path)
    assert caught.value.path == path
    assert "\n" not in caught.value.reason
    return caught.value.reason


def fates(folder: Path, projectors: Sequence[Path]) -> list[str]:
    """What llama.cpp makes of each: `seen`, `not loaded`, `not seen` or `died`."""
    model = write_tiny_model(folder / "model.gguf")
    done = subprocess.run(
        [sys.executable, "-m", "tests.gguf.projector_child", model, *projectors],
        cwd=ROOT,
        env=os.environ | {"GGML_NO_BACKTRACE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.splitlines()


def test_facts_of_a_tiny_projector(tmp_path: Path) -> None:
    path = write_tiny_projector(
        tmp_path / "a.gguf", projection_dim=96, width=64, heads=4, hidden=80, layers=2
    )
    header = read_projector(path)
    assert header.path == path
    assert (header.projection_dim, header.block_count) == (96, 2)
    assert (header.embedding_length, header.feed_forward_length) == (64, 80)
    assert (header.head_count, header.quantization) == (4, "F16")
    assert (header.image_size, header.patch_size, header.spatial_merge_size) == (1540, 14, 2)
    assert header.file_size == path.stat().st_size
    layer = 4 * 64 * 64 + 3 * 64 * 80
    matrices = 2 * layer + 588 * 64 + 256 * 64 + 64 * 96 + 96 * 96
    assert header.parameter_bytes == 2 * matrices + 4 * (6 * 64 + 96)


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    first = write_tiny_projector(tmp_path / "a.gguf", seed=3).read_bytes()
    assert write_tiny_projector(tmp_path / "b.gguf", seed=3).read_bytes() == first
    assert write_tiny_projector(tmp_path / "c.gguf", seed=4).read_bytes() != first


def test_a_streamed_projector_is_the_same_as_one_in_memory(tmp_path: Path) -> None:
    shape = ProjectorShape(layers=1, width=32, heads=2, hidden=48, projection_dim=64)
    write_projector(tmp_path / "a.gguf", shape)
    whole = write_tiny_projector(tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == whole.read_bytes()


def test_the_break_between_rows(tmp_path: Path) -> None:
    shape = ProjectorShape(layers=1, width=32, heads=2, hidden=48, projection_dim=64)
    row_break = read_row_break(write_tiny_projector(tmp_path / "a.gguf"))
    assert row_break.dtype == np.float32
    assert np.array_equal(row_break, dict(projector_tensors(shape, 0))[BREAK])
    with pytest.raises(ModelLoadFailed):
        read_row_break(write_tiny_projector(tmp_path / "b.gguf", edit=without_tensor(BREAK)))


def test_the_toys_projector() -> None:
    header = read_projector(TOY)
    assert (header.projection_dim, header.embedding_length, header.block_count) == (128, 96, 3)
    assert read_row_break(TOY).shape == (128,)


@pytest.mark.parametrize(("edit", "reason"), [case[:2] for case in WRONG])
def test_wrong_projectors_are_refused_by_name(tmp_path: Path, edit: Edit, reason: str) -> None:
    assert reason in projector_refusal(write_tiny_projector(tmp_path / "a.gguf", edit=edit))


def test_what_is_refused_would_be_fatal_or_wrong(tmp_path: Path) -> None:
    files = [
        write_tiny_projector(tmp_path / f"{at}.gguf", edit=edit)
        for at, (edit, _, _) in enumerate(WRONG)
    ]
    outcomes = zip(WRONG, fates(tmp_path, files), strict=True)
    assert [(reason, fate) for (_, reason, _), fate in outcomes] == [case[1:] for case in WRONG]


def test_llama_cpp_looks_through_what_is_accepted(tmp_path: Path) -> None:
    files = [
        write_tiny_projector(tmp_path / f"{at}.gguf", edit=edit) for at, edit in enumerate(SOUND)
    ]
    files.append(write_tiny_projector(tmp_path / "deep.gguf", layers=MAX_LAYERS))
    for file in files:
        read_projector(file)
    assert fates(tmp_path, files) == ["seen"] * len(files)


def test_damage_that_is_accepted_does_not_kill(tmp_path: Path) -> None:
    original = Original.of(write_tiny_projector(tmp_path / "tiny.gguf"))
    accepted = []
    for seed in range(MUTATIONS):
        path = tmp_path / f"{seed}.gguf"
        path.write_bytes(mutate(original, Random(seed))[0])
        try:
            read_projector(path)
        except ModelLoadFailed:
            path.unlink()
        else:
            accepted.append(path)
    assert MUTATIONS // 20 < len(accepted) < MUTATIONS // 2
    outcomes = dict(zip(accepted, fates(tmp_path, accepted), strict=True))
    assert set(outcomes.values()) == {"seen"}, outcomes


@pytest.mark.parametrize("kind", ["gemma3", "mlp", "qwen2.5vl_merger", "lightonocr"])
def test_other_projectors_are_named(tmp_path: Path, kind: str) -> None:
    path = write_tiny_projector(tmp_path / "a.gguf", edit=field(KIND, kind, STRING))
    assert projector_refusal(path) == (
        f"it is a projector of the kind {kind!r}; Mistral Small's is 'pixtral'"
    )


def test_a_model_and_a_projector_are_told_apart(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.gguf")
    assert projector_refusal(model) == (
        "it is a model of the architecture 'llama' and no projector"
    )
    projector = write_tiny_projector(tmp_path / "projector.gguf")
    assert refusal(projector).startswith("it is a projector, which looks at pictures")


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    path = write_tiny_projector(tmp_path / "a.gguf")
    path.write_bytes(path.read_bytes()[:-2000])
    assert projector_refusal(path).startswith("it is cut short")
    path.write_bytes(b"<!doctype html>")
    assert projector_refusal(path) == "it is not a GGUF file but a web page"
