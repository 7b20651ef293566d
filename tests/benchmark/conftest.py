"""One tiny model, loaded once: it says noise, and everything about it can be counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.llm import LLM
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    return write_tiny_model(path, shape=TinyShape(context=1200))


@pytest.fixture(scope="session")
def llm(tiny: Path) -> Iterator[LLM]:
    with LLM.load(tiny, EngineConfig(threads=1, speculation="off")) as llm:
        yield llm
