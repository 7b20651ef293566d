"""Loading: what llama.cpp refuses becomes an error with its reason, and Ctrl-C ends a load."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.llama.model import load_model
from tests.llama.test_tokenizer import OPTIONS
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf", architecture="quux")
    with pytest.raises(ModelLoadFailed, match="unknown model architecture: 'quux'") as caught:
        load_model(path, OPTIONS)
    assert caught.value.path == path


@pytest.mark.parametrize("architecture", ["dream", "llada"])
def test_a_model_that_does_not_write_token_by_token_is_refused(
    tmp_path: Path, architecture: str
) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf", architecture=architecture)
    with pytest.raises(ModelLoadFailed, match="diffusion"):
        load_model(path, OPTIONS)


def test_nothing_of_llama_cpps_log_reaches_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_model(write_tiny_model(tmp_path / "tiny.gguf"), OPTIONS).close()
    assert capfd.readouterr() == ("", "")


def test_its_log_is_there_for_who_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="mistral_small_edge.llama"):
        load_model(write_tiny_model(tmp_path / "tiny.gguf"), OPTIONS).close()
    assert any("n_ctx" in record.message for record in caplog.records)


def test_progress_is_reported_and_what_it_raises_ends_the_load(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    seen: list[float] = []
    load_model(path, OPTIONS, seen.append).close()
    assert seen[-1] == 1.0
    assert seen == sorted(seen)

    def interrupt(_fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_model(path, OPTIONS, interrupt)


def test_a_context_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    with pytest.raises(ModelLoadFailed, match="context"):
        load_model(path, replace(OPTIONS, kv_type="q8_0", flash_attention=False))
