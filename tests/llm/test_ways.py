"""What is faster here is found out once, or done as was asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from gguf import GGMLQuantizationType

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.gguf import read_header
from mistral_small_edge.host import probe_host
from mistral_small_edge.llama import ways
from mistral_small_edge.llama.runner import LlamaRunner
from mistral_small_edge.llama.ways import Attention, Packing, try_attention, try_packing
from mistral_small_edge.llm import LLM, calibrations
from mistral_small_edge.llm.calibrations import Machine, remembered
from mistral_small_edge.llm.fingerprint import fingerprint
from mistral_small_edge.llm.setup import choose_attention, choose_options, choose_projector
from mistral_small_edge.store.catalog import resolve
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mistral_small_edge.engine.backend import Batch
    from mistral_small_edge.llama.model import ModelOptions

CONFIG = EngineConfig(context_length=256, threads=1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_SMALL_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.gguf", weights=GGMLQuantizationType.Q4_0)


USUAL = Packing(chosen=True)


def test_many_weights_are_tried_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, host = read_header(model), probe_host()
    options = choose_options(header, host, CONFIG)
    told: list[float] = []

    def found() -> Packing:
        return calibrations.packing(header, "mark", Machine(host, told.append), options)

    assert found() == USUAL
    assert not told  # these are few
    monkeypatch.setattr(calibrations, "_MANY", 0)
    first = found()
    assert told
    told.clear()
    assert found() == first
    assert not told


@pytest.mark.parametrize(("try_way", "whole"), [(try_packing, True), (try_attention, False)])
def test_a_layer_is_read_as_one_that_is_not_the_last(
    model: Path,
    try_way: Callable[[Path, ModelOptions], Packing | Attention | None],
    whole: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last one computes little for rows whose logits nobody wants, and a model of one layer has no other."""
    read: list[bool] = []

    class Noting(LlamaRunner):
        def run(self, batch: Batch) -> tuple[int, ...]:
            read.extend(chunk.score for chunk in batch if len(chunk.tokens) > 1)
            return super().run(batch)

    monkeypatch.setattr(ways, "LlamaRunner", Noting)
    options = choose_options(read_header(model), probe_host(), CONFIG)
    assert try_way(model, options) is not None
    assert len(read) > 2
    assert set(read) == {whole}


def test_what_cannot_be_loaded_is_laid_out_as_usual(tmp_path: Path, model: Path) -> None:
    options = choose_options(read_header(model), probe_host(), CONFIG)
    assert try_packing(tmp_path / "none.gguf", options) is None
    assert try_attention(tmp_path / "none.gguf", options) is None


def test_what_was_asked_is_done_and_told_apart(model: Path) -> None:
    marks = []
    for repack in ("on", "off"):
        config = EngineConfig(context_length=256, threads=1, repack=repack)
        with LLM.load(model, config) as llm:
            marks.append(llm.fingerprint)
            assert llm.chat("Hello").usage.completion_tokens
    assert marks[0] != marks[1]


@pytest.mark.parametrize("many", [False, True])
def test_attention_is_tried_once(
    model: Path, many: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    header, host = read_header(model), probe_host()
    options = choose_options(header, host, CONFIG)
    if many:  # by one layer
        monkeypatch.setattr(calibrations, "_MANY", 0)
    told: list[float] = []

    def found() -> Attention:
        return calibrations.attention(header, "mark", Machine(host, told.append), options)

    first = found()
    assert told
    told.clear()
    assert found() == first
    assert not told
    assert "was not tried" not in caplog.text


def test_a_machine_that_is_too_busy_tells_nothing_this_time(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, host = read_header(model), probe_host()
    options = choose_options(header, host, CONFIG)
    told: list[float] = []

    def found() -> Attention:
        return calibrations.attention(header, "mark", Machine(host, told.append), options)

    with monkeypatch.context() as busy:
        busy.setattr(ways, "_MOST_SECONDS", -1.0)
        assert found() == Attention(chosen=False)
    assert len(told) == 1
    found()
    assert len(told) > 2


@pytest.mark.parametrize(("found", "chosen"), [(True, True), (False, False)])
def test_attention_is_as_was_found_where_it_was_left_open(
    model: Path, found: bool, chosen: bool
) -> None:
    header, host = read_header(model), probe_host()

    def flash(**config: object) -> bool:
        wanted = replace(CONFIG, **config)  # type: ignore[arg-type]
        options = choose_options(header, host, wanted)
        mark = fingerprint(header.parts, options)
        remembered(Attention, (mark, host.processor, 1), lambda: Attention(found))
        with LLM.load(model, wanted) as llm:
            return llm.flash_attention

    assert flash() == chosen
    assert flash(flash_attention="on")
    assert not flash(flash_attention="off")


def test_a_model_that_sees_computes_attention_whole() -> None:
    header, host = read_header(resolve("toy").path), probe_host()
    options = choose_options(header, host, CONFIG)
    sight = choose_projector("toy", header, CONFIG)
    assert sight is not None

    def tried(_: float) -> None:
        raise AssertionError("it was tried")

    chosen = choose_attention(header, header.parts, Machine(host, tried), options, CONFIG, sight)
    assert not chosen.flash_attention


@pytest.mark.parametrize("value", ["yes", None, 1])
def test_what_is_no_finding_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="neither"):
        Packing.from_json(value)
