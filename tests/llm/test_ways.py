"""Weights are laid out as is fastest here, which is found out once, or as was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gguf import GGMLQuantizationType

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.gguf import read_header
from mistral_small_edge.host import probe_host
from mistral_small_edge.llama.ways import USUAL, Packing, try_packing
from mistral_small_edge.llm import LLM, calibrations
from mistral_small_edge.llm.setup import choose_options
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = EngineConfig(context_length=256, threads=1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_SMALL_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.gguf", weights=GGMLQuantizationType.Q4_0)


def test_many_weights_are_tried_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, host = read_header(model), probe_host()
    options = choose_options(header, host, CONFIG)
    told: list[float] = []

    def found() -> Packing:
        return calibrations.packing(header, "mark", host, options, told.append)

    assert found() == USUAL
    assert not told  # these are few
    monkeypatch.setattr(calibrations, "_WORTH_TRYING", 0)
    first = found()
    assert told
    told.clear()
    assert found() == first
    assert not told


def test_what_cannot_be_loaded_is_laid_out_as_usual(tmp_path: Path, model: Path) -> None:
    options = choose_options(read_header(model), probe_host(), CONFIG)
    assert try_packing(tmp_path / "none.gguf", options) == USUAL


def test_what_was_asked_is_done_and_told_apart(model: Path) -> None:
    marks = []
    for repack in ("on", "off"):
        config = EngineConfig(context_length=256, threads=1, repack=repack)
        with LLM.load(model, config) as llm:
            marks.append(llm.fingerprint)
            assert llm.chat("Hello").usage.completion_tokens
    assert marks[0] != marks[1]


@pytest.mark.parametrize("value", ["yes", None, 1])
def test_what_is_no_finding_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="neither"):
        Packing.from_json(value)
