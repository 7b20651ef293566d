"""`scripts.repeats`: whether answers repeat, and on kernels that agree only in chunks of one shape.

On a processor those of attention by tiles are such, below 96 rows; with `GPU_LAYERS` an accelerator's are.
"""

from __future__ import annotations

import sys

import pytest

from mistral_small_edge.llama import model as llama_model
from mistral_small_edge.llama.model import ACCELERATED_ROWS
from scripts import repeats as script
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
