"""One model of noise that speaks v11, and one server over it, for all tests here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from openai import OpenAI

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.llm import LLM
from scripts.toy.tekken import Tekken
from tests.server.live import PATIENCE, serving
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOTS = 2


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    path = tmp_path_factory.mktemp("tiny") / "noise.gguf"
    write_tiny_model(path, chat_template=None, tekken=Tekken(), shape=TinyShape(context=2048))
    with LLM.load(path, EngineConfig(context_length=2048, max_sequences=SLOTS, threads=1)) as llm:
        yield llm


@pytest.fixture(scope="session")
def url(llm: LLM) -> Iterator[str]:
    with serving(llm, SLOTS) as url:
        yield url


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=PATIENCE) as client:
        yield client
