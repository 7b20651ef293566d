"""`scripts.repeats`: whether answers repeat, and on kernels that agree only in chunks of one shape.

On a processor those of attention by tiles are such, below 96 rows; with `GPU_LAYERS` an accelerator's are.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from gguf import LlamaFileType

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.llama import model as llama_model
from mistral_small_edge.llama.model import ACCELERATED_ROWS
from mistral_small_edge.llm import LLM, calibrations
from scripts import repeats as script
from scripts.repeats import JOBS, Repeated, repeats
from scripts.synthetic.text import TextShape, write_text_model
from scripts.toy.tekken import TOY_SIZE
from tests.model.config import engine_config

if TYPE_CHECKING:
    from pathlib import Path

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


def test_answers_repeat_in_whole_passes_and_where_prompts_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights that have kernels for four rows at once, whose bits are others, and unpack for many."""
    costs = StepCosts(((1, 1.0), (2, 1.8), (3, 2.4), (4, 1.5), (8, 3.0), (16, 5.0), (32, 6.0)))
    monkeypatch.setattr(calibrations, "try_costs", lambda _runner, _told: costs)
    monkeypatch.setenv("MISTRAL_SMALL_EDGE_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "small.gguf"
    shape = TextShape(
        layers=2,
        width=512,
        hidden=1024,
        heads=8,
        kv_heads=2,
        head_width=64,
        vocabulary=TOY_SIZE,
        context=2048,
    )
    write_text_model(model, shape, LlamaFileType.MOSTLY_Q4_K_M)
    config = EngineConfig(
        context_length=2048,
        max_sequences=5,
        at_once=5,
        threads=1,
        flash_attention="off",
        repack="on",
    )
    with LLM.load(model, config) as llm:
        rows = llm.calibration.repeats.rows
        if rows.max_repeatable_rows >= 4 or not rows.exact_pass:
            pytest.skip("this processor has no kernel for four rows, or one that minds their place")
        assert rows.exact_pass == 4
        assert rows.shared_prompts > 1
    assert [found.different for found in repeats(str(model), config)] == [0, 0, 0]


@pytest.mark.parametrize(("different", "code"), [((0, 0), 0), ((0, 3), 1)])
def test_the_script_ends_by_what_it_found(
    different: tuple[int, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [Repeated(f"way {number}", count, 5) for number, count in enumerate(different)]
    monkeypatch.setattr(script, "repeats", lambda _model, _config: found)
    monkeypatch.setattr(sys, "argv", ["repeats"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == code
    lines = [f"way {number:<16} {count} of 5 differ" for number, count in enumerate(different)]
    assert capsys.readouterr().out.splitlines() == lines


def test_the_script_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["repeats", "--model", "nowhere.gguf"])
    with pytest.raises(SystemExit, match="error: no model"):
        script.main()
