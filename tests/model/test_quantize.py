"""Real weights, quantized for real: what is lost shows, and is not too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.llm import LLM
from mistral_small_edge.quantization import Wishes, agreement, find_recipe, plan, run, score
from mistral_small_edge.store.catalog import resolve
from tests.model.config import engine_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model

CONFIG = engine_config(context_length=1024, threads=1, repack="off", flash_attention="off")


def test_fewer_bits_lose_some(llm: LLM, tmp_path: Path) -> None:
    target = tmp_path / "demo-Q3_K_S.gguf"
    wishes = Wishes(recipe=find_recipe("Q3_K_S"), threads=1, requantize=True)
    run(plan(resolve("demo").path, target, wishes, replace=False), lambda _done, _total: None)
    before = score(llm)
    with LLM.load(target, CONFIG) as smaller:
        after = score(smaller)
    assert 5 < before.perplexity < after.perplexity < 2 * before.perplexity
    assert 0.5 < agreement(before, after).same_first < 0.95
    assert agreement(before, before).same_first == 1
