"""`bench`, as it is typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.cli.app import app
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.llm import LLM

if TYPE_CHECKING:
    from pathlib import Path

SIZES = ["--rounds", "1", "--tokens", "4", "--sentences", "1", "--threads", "1"]


def bench(model: Path | str, *options: str) -> None:
    app(["bench", "--model", str(model), *SIZES, *options], standalone_mode=False)


def test_json_has_every_figure(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench(tiny, "--sweep", "--depth", "--json")
    report = json.loads(capsys.readouterr().out)
    assert len(report["rounds"]) == 1
    assert report["threads"] == 1
    for name in (
        "decode_share_of_bare_loop",
        "decode_share_of_memory_bound",
        "memory_bytes_per_second",
        "memory_bytes_per_token",
        "mask_seconds_per_token",
    ):
        assert report[name] > 0
    sweep = report["thread_sweep"]
    assert sweep["option"] == f"--threads {sweep['best_for_decode']}"
    assert sweep["speeds"][0]["threads"] == 1
    assert [one["position"] for one in report["depths"]] == [0, 1168]


def test_tables_have_what_was_asked_for(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench(tiny)
    alone = capsys.readouterr().out
    assert "of memory's bound" in alone
    assert "best: --threads" not in alone
    assert "1,168" not in alone
    bench(tiny, "--sweep", "--depth")
    together = capsys.readouterr().out
    assert "best: --threads" in together
    assert "1,168" in together


def test_a_plot_that_cannot_be_is_refused_before_a_model_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="must end in"):
        bench("nosuch", "--plot", str(tmp_path / "out.txt"))


def test_a_plot_is_drawn(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    bench(tiny, "--plot", str(tmp_path / "out.png"))
    assert (tmp_path / "out.png").stat().st_size > 1000
    assert "1,168" in capsys.readouterr().out


def test_a_context_too_short_for_depths_is_refused_before_measuring(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidRequest, match="too short to see"):
        bench(tiny, "--depth", "--context", "512")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("as_json", [True, False])
def test_what_was_tuned_is_told_and_remembered(
    tiny: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    sizes = [*SIZES[:-2], "--context", "512", "--tune", *(["--json"] if as_json else [])]
    app(["bench", "--model", str(tiny), *sizes], standalone_mode=False)
    told = capsys.readouterr().out
    with LLM.load(tiny, EngineConfig(context_length=512)) as llm:
        threads, flash, repack = llm.threads, llm.flash_attention, llm.repack
    if as_json:
        found = {"threads": threads, "flash_attention": flash, "repack": repack}
        assert json.loads(told)["tuned"] == found
    else:
        assert f"remembered: {threads} thread{'s' * (threads > 1)}, " in told


def test_threads_are_given_or_found(tiny: Path) -> None:
    with pytest.raises(InvalidRequest, match="one of them"):
        bench(tiny, "--tune")
