"""Kernels that agree only in chunks of one shape: answers repeat on them all the same.

On a processor those of attention by tiles are such, below 96 rows; with `GPU_LAYERS` an accelerator's are.
"""

from __future__ import annotations

import pytest

from mistral_small_edge.llama import model as llama_model
from mistral_small_edge.llama.model import ACCELERATED_ROWS
from scripts.repeats import JOBS, Repeated, repeats
from tests.model.config import engine_config

pytestmark = pytest.mark.model


@pytest.mark.parametrize("flash_attention", ["off", "on"])
def test_answers_repeat_warm_under_load_and_after_a_restart(
    flash_attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_model, "FLASH_ROWS", ACCELERATED_ROWS)
    config = engine_config(
        context_length=2048,
        max_sequences=4,
        threads=1,
        flash_attention=flash_attention,
        vision=False,
    )
    ways = ("one after the other", "beside others", "after a restart")
    assert list(repeats("toy", config)) == [Repeated(way, 0, len(JOBS)) for way in ways]
