"""What the catalog says of models that are not here, held against files that are."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from mistral_small_edge.gguf import read_header, read_projector
from mistral_small_edge.store.catalog import Catalog, resolve, resolve_projector
from mistral_small_edge.store.shape import ModelShape, ProjectorShape

PUBLISHED = Catalog.load()


def shape(name: str) -> ModelShape:
    found = PUBLISHED.find(name).shape
    assert isinstance(found, ModelShape)
    return found


@pytest.mark.parametrize("name", ["toy", pytest.param("demo", marks=pytest.mark.model)])
def test_a_header_says_what_was_foretold(name: str) -> None:
    header, foretold = read_header(resolve(name).path), asdict(shape(name))
    foretold.pop("tied_embedding")
    assert {key: getattr(header, key) for key in foretold} == foretold
    share = header.step_bytes / header.parameter_bytes
    assert shape(name).computed_share == pytest.approx(share, rel=0.01)
    share = sum(header.layer_bytes) / header.block_count / header.parameter_bytes
    assert shape(name).layer_share == pytest.approx(share, rel=0.15)  # formats are mixed


def test_a_projector_says_what_was_foretold() -> None:
    file, source = resolve_projector("toy"), PUBLISHED.find_projector("toy")
    assert file is not None
    assert source is not None
    assert isinstance(source.shape, ProjectorShape)
    header = read_projector(file.path)
    foretold = asdict(source.shape)
    assert {key: getattr(header, key) for key in foretold} == foretold


def test_mistral_small_has_as_many_parameters_as_published() -> None:
    found = shape("mistral-small-3.2")
    assert found.parameters == pytest.approx(23.57e9, rel=0.001)
    assert found.computed_share == pytest.approx(1 - 0.671e9 / 23.57e9, rel=0.001)


def test_what_is_looked_up_and_computed_with_counts_once() -> None:
    tied = shape("demo")
    assert tied.parameters == pytest.approx(134.5e6, rel=0.001)
    assert tied.computed_share == 1
    assert tied.layer_share == pytest.approx(3.54e6 / 134.5e6, rel=0.001)
