"""A model cut down to its first layer is one that llama.cpp loads, and its layer is the whole one's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gguf import GGUFReader

from mistral_small_edge.gguf import write_first_layer
from mistral_small_edge.gguf.first_layer import VOCABULARY
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def test_the_first_layer_is_kept_whole_and_the_others_go(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.gguf", shape=TinyShape(layers=2))
    assert write_first_layer(model, tmp_path / "layer.gguf")
    whole = {tensor.name: tensor for tensor in GGUFReader(model).tensors}
    cut = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "layer.gguf").tensors}
    assert "blk.0.ffn_down.weight" in cut
    assert not any(name.startswith("blk.1.") for name in cut)
    for name, tensor in cut.items():
        rows = tensor.data
        assert tensor.tensor_type == whole[name].tensor_type
        assert (rows == whole[name].data[: len(rows)]).all()
        by_token = name in ("token_embd.weight", "output.weight")
        assert len(rows) == (VOCABULARY if by_token else len(whole[name].data))


def test_a_part_without_the_first_layer_is_not_cut(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model.gguf", shape=TinyShape(layers=4), parts=3)
    middle = sorted(tmp_path.glob("model*.gguf"))[1]
    assert not write_first_layer(middle, tmp_path / "layer.gguf")
    assert not (tmp_path / "layer.gguf").exists()
