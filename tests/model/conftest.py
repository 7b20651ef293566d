"""One loaded demo model for all tests here: four slots, two thousand tokens each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.llm import LLM
from tests.model.config import engine_config

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def llm() -> Iterator[LLM]:
    with LLM.load("demo", engine_config(context_length=2048, max_sequences=4, threads=1)) as llm:
        yield llm
