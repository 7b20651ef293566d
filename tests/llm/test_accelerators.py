"""Layers on an accelerator: as many as was asked, none where there is none, and nothing behind our back."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from llama_cpp import llama_cpp as lib

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.gguf import read_header
from mistral_small_edge.host import probe_host
from mistral_small_edge.llama.accelerator import accelerators
from mistral_small_edge.llama.model import WorkerShare, load_model
from mistral_small_edge.llm import LLM, setup
from mistral_small_edge.llm.fingerprint import fingerprint_of_sight
from mistral_small_edge.llm.setup import choose_options
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.llama.model import ModelOptions


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.gguf")


def found(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(setup, "accelerators", lambda: names)


def chosen(model: Path, gpu_layers: int | None) -> ModelOptions:
    config = EngineConfig(context_length=64, threads=1, gpu_layers=gpu_layers)
    return choose_options(read_header(model), probe_host(), config)


def test_layers_for_an_accelerator_that_is_not_there_are_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch)
    with pytest.raises(InvalidRequest, match=r"gpu_layers is 7, .* no accelerator") as caught:
        LLM.load(model, EngineConfig(context_length=64, gpu_layers=7))
    assert caught.value.param == "gpu_layers"


@pytest.mark.parametrize("asked", [0, None])
def test_none_are_needed_for_none(
    model: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None
) -> None:
    found(monkeypatch)
    options = chosen(model, asked)
    assert (options.gpu_layers, options.offloads) == (0, False)


@pytest.mark.parametrize(("system", "everything"), [("darwin", True), ("linux", False)])
def test_left_open_all_are_metals_and_no_other_accelerators(
    model: Path, monkeypatch: pytest.MonkeyPatch, system: str, everything: bool
) -> None:
    found(monkeypatch, "one")
    monkeypatch.setattr(sys, "platform", system)
    layers = read_header(model).block_count
    assert chosen(model, None).gpu_layers == (layers + 1 if everything else 0)
    assert chosen(model, 1).gpu_layers == 1


def test_the_processors_layers_are_computed_by_the_processor(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long batches would move to an accelerator by themselves, and give other bits than short ones."""
    made: list[Any] = []
    original = lib.llama_init_from_model

    def watch(weights: Any, params: Any) -> Any:
        made.append(params)
        return original(weights, params)

    monkeypatch.setattr(lib, "llama_init_from_model", watch)
    load_model(model, chosen(model, 0)).close()
    (params,) = made
    assert not params.op_offload


def test_what_pictures_become_is_kept_apart_by_what_looked_at_them(model: Path) -> None:
    here = chosen(model, 0)
    marks = [
        fingerprint_of_sight(model, options)
        for options in (here, replace(here, gpu_layers=1), replace(here, gpu_layers=2))
    ]
    assert marks[0] != marks[1] == marks[2]


def test_a_build_without_accelerators_has_none() -> None:
    if lib.llama_print_system_info().count(b" : ") > 1:
        pytest.skip("this build knows others than the processor")
    assert accelerators() == ()


def test_an_accelerators_chunks_are_all_of_one_shape_and_fit_into_a_batch(model: Path) -> None:
    here = replace(chosen(model, 0), prefill_chunk=1)
    there = replace(here, gpu_layers=1)
    assert here.row_classes.grid == 0
    assert there.row_classes.grid > here.batch_rows
    assert there.batch_rows >= there.row_classes.grid
    assert there.row_classes.max_repeatable_rows == 1
    beside = replace(there, workers=(WorkerShare("host:1", 1),))
    assert beside.row_classes == here.row_classes
