"""Everything that is refused before an hour is spent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGMLQuantizationType

from mistral_small_edge.errors import InvalidRequest, ModelLoadFailed
from mistral_small_edge.quantization import Wishes, find_recipe, plan, run
from tests.quantization.imatrices import write_imatrix
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable

Q8 = Wishes(recipe=find_recipe("Q8_0"), threads=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny-F16.gguf")


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        (lambda: replace(Q8, threads=0), "threads"),
        (lambda: replace(Q8, recipe=find_recipe("IQ2_XS")), "TYPE"),
        (lambda: replace(Q8, recipe=find_recipe("F16"), imatrix=Path("i")), "imatrix"),
        (lambda: replace(Q8, pure=True, output_format="F16"), "output_format"),
        (
            lambda: replace(Q8, recipe=find_recipe("F16"), embedding_format="Q8_0"),
            "embedding_format",
        ),
    ],
)
def test_wishes_that_cannot_be_honoured(wish: Callable[[], Wishes], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wish()
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("m-F16.gguf", "m-Q8_0.gguf"),
        ("m.f16.gguf", "m.Q8_0.gguf"),
        ("F16.gguf", "F16-Q8_0.gguf"),
        ("model.gguf", "model-Q8_0.gguf"),
    ],
)
def test_the_result_is_named_after_the_source(tmp_path: Path, name: str, becomes: str) -> None:
    job = plan(write_tiny_model(tmp_path / name), None, Q8, replace=False)
    assert job.target == Path(becomes)


def test_a_split_source_becomes_one_file(tmp_path: Path) -> None:
    first = write_tiny_model(tmp_path / "m-F16.gguf", parts=3)
    job = plan(first, None, Q8, replace=False)
    assert job.target == Path("m-Q8_0.gguf")
    assert len(job.source.tensors) == 12
    assert job.source.file_size > 3 * first.stat().st_size / 2


def test_nothing_is_replaced_unasked(source: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.gguf"
    there.write_text("precious")
    with pytest.raises(InvalidRequest, match="--force"):
        plan(source, there, Q8, replace=False)
    assert plan(source, there, Q8, replace=True).target == there


@pytest.mark.parametrize("target", ["tiny-F16.gguf", "link.gguf", "nowhere/x.gguf", "folder"])
def test_a_target_that_cannot_be(source: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "link.gguf").symlink_to(source)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidRequest) as caught:
        plan(source, tmp_path / target, Q8, replace=True)
    assert caught.value.param == "output"


def test_a_quantized_source_wants_a_second_word(tmp_path: Path) -> None:
    source = write_tiny_model(tmp_path / "q.gguf", weights=GGMLQuantizationType.Q4_0)
    with pytest.raises(InvalidRequest, match=r"Q4_0.*--requantize"):
        plan(source, tmp_path / "x.gguf", Q8, replace=False)
    assert plan(
        source, tmp_path / "x.gguf", replace(Q8, requantize=True), replace=False
    ).is_quantized


def test_what_is_no_model_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_text("no model")
    with pytest.raises(ModelLoadFailed):
        plan(tmp_path / "x.gguf", None, Q8, replace=False)


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [
        ("blk.9.ffn_up.weight", 64, "knows no matrix"),
        ("blk.0.ffn_up.weight", 65, "64 columns here, and 65 there"),
    ],
)
def test_another_models_importance_matrix(
    source: Path, tmp_path: Path, name: str, columns: int, said: str
) -> None:
    wishes = replace(Q8, imatrix=write_imatrix(tmp_path / "i.dat", {name: np.ones(columns)}))
    with pytest.raises(InvalidRequest, match=said) as caught:
        plan(source, tmp_path / "x.gguf", wishes, replace=False)
    assert caught.value.param == "imatrix"


def test_matrices_without_weights_are_named(source: Path, tmp_path: Path) -> None:
    wishes = replace(
        Q8, imatrix=write_imatrix(tmp_path / "i.dat", {"blk.0.ffn_up.weight": np.ones(64)})
    )
    job = plan(source, tmp_path / "x.gguf", wishes, replace=False)
    assert len(job.unweighted) == 6
    assert "blk.0.ffn_up.weight" not in job.unweighted


@pytest.mark.parametrize(
    ("recipe", "width"), [("BF16", 96), ("Q4_K_M", 96), ("Q4_K_M", 256), ("Q2_K", 256)]
)
def test_the_size_is_foretold_rather_too_large(tmp_path: Path, recipe: str, width: int) -> None:
    source = write_tiny_model(
        tmp_path / "m.gguf", shape=TinyShape(width=width, hidden=2 * width, layers=2)
    )
    wishes = Wishes(recipe=find_recipe(recipe), threads=1)
    job = plan(source, tmp_path / "out.gguf", wishes, replace=False)
    written = run(job, lambda _done, _total: None)
    tensors = sum(tensor.size for tensor in written.tensors.values())
    assert tensors <= job.expected_bytes <= 1.6 * tensors
