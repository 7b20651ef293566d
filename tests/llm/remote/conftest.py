"""One model of noise that speaks v11, one server over it, and that server's model from the other side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.llm import LLM, RemoteLLM
from scripts.toy.tekken import Tekken
from tests.server.live import serving
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS = 2


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    path = tmp_path_factory.mktemp("served") / "noise.gguf"
    write_tiny_model(path, chat_template=None, tekken=Tekken(), shape=TinyShape(context=1024))
    with LLM.load(path, EngineConfig(context_length=1024, max_sequences=SLOTS, threads=1)) as llm:
        yield llm


@pytest.fixture(scope="session")
def url(local: LLM) -> Iterator[str]:
    with serving(local, SLOTS) as url:
        yield url


@pytest.fixture(scope="session")
def remote(url: str) -> Iterator[RemoteLLM]:
    with LLM.connect(url) as remote:
        yield remote
