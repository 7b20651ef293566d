"""Every way in which a result can be something else than its source in smaller numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.errors import QuantizeFailed
from mistral_small_edge.gguf.container import Tensor
from mistral_small_edge.quantization import Contents, find_recipe
from mistral_small_edge.quantization.comparison import check, differences
from mistral_small_edge.quantization.contents import read_contents
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

F16 = find_recipe("F16")
NORM, UP = "output_norm.weight", "blk.0.ffn_up.weight"


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    return read_contents(write_tiny_model(tmp_path / "m.gguf"))


def with_tensor(contents: Contents, name: str, tensor: Tensor) -> Contents:
    return replace(contents, tensors={**contents.tensors, name: tensor})


def with_value(contents: Contents, key: str, value: object) -> Contents:
    return replace(contents, values={**contents.values, key: value})


def without(contents: Contents, name: str) -> Contents:
    return replace(
        contents,
        tensors={key: one for key, one in contents.tensors.items() if key != name},
        values={key: one for key, one in contents.values.items() if key != name},
    )


def test_a_file_is_itself(contents: Contents) -> None:
    assert list(differences(contents, contents, F16)) == []
    assert contents.bits_a_weight == pytest.approx(16, abs=0.2)
    assert contents.formats == {"F16": 9}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda one: without(one, UP), f"the tensor {UP} is missing"),
        (lambda one: with_tensor(one, "x", Tensor((4,), "F32", 16)), "the tensor x is new"),
        (
            lambda one: with_tensor(one, UP, Tensor((96, 64), "Q8_0", 6528)),
            "has the shape (96, 64)",
        ),
        (lambda one: with_tensor(one, NORM, Tensor((64,), "F16", 128)), f"the vector {NORM} is in"),
        (lambda one: without(one, "llama.rope.freq_base"), "llama.rope.freq_base is missing"),
        (lambda one: with_value(one, "x", 1), "the key x is new"),
        (
            lambda one: with_value(one, "general.name", b"x"),
            "the value of general.name has changed",
        ),
        (lambda one: with_value(one, "general.file_type", 7), "it says that it is Q8_0, not F16"),
        (lambda one: without(one, "general.file_type"), "it says that it is of no type"),
    ],
)
def test_what_is_not_as_it_was(
    contents: Contents, damage: Callable[[Contents], Contents], said: str
) -> None:
    (found,) = differences(contents, damage(contents), F16)
    assert said in found
    with pytest.raises(QuantizeFailed):
        check(contents, damage(contents), F16)


def test_joined_parts_and_smaller_matrices_are_no_difference(contents: Contents) -> None:
    split = with_value(with_value(contents, "split.count", 2), "general.quantization_version", 1)
    smaller = with_tensor(contents, UP, Tensor(contents.tensors[UP].shape, "Q8_0", 6528))
    assert list(differences(split, smaller, F16)) == []
