"""The benchmark on a tiny model: what it counts, what it refuses; never how fast."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.benchmark import BenchmarkReport, Round, Workload, measure
from mistral_small_edge.cli.app import app
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.llm import LLM
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = Workload(rounds=2, sentences=1, tokens=8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def llm(tiny: Path) -> Iterator[LLM]:
    with LLM.load(tiny, EngineConfig(threads=1)) as llm:
        yield llm


def test_every_round_is_measured_but_the_first(llm: LLM) -> None:
    done: list[int] = []
    report = measure(llm, SMALL, done.append)
    assert done == [0, 1, 2]
    assert len(report.rounds) == SMALL.rounds
    for one in report.rounds:
        assert one.prompt_tokens > 100
        assert min(one.prompt_rate, one.decode_rate, one.bare_decode_rate) > 0
    assert len(report.mask_seconds) > SMALL.rounds
    assert min(report.mask_seconds) > 0
    assert report.peak_memory > 10**7


def test_medians_are_of_pairs() -> None:
    rates = [(100.0, 50.0), (10.0, 10.0), (1.0, 4.0)]
    rounds = tuple(Round(5, ours, 1.0, ours, bare) for ours, bare in rates)
    report = BenchmarkReport("x", rounds, (3.0, 1.0, 2.0), 0)
    assert report.decode_rate == 10.0
    assert report.share_of_bare == 1.0
    assert report.mask_time == 2.0


@pytest.mark.parametrize(
    ("field", "value"), [("rounds", 0), ("sentences", 0), ("tokens", 1), ("sentences", 10_000)]
)
def test_a_workload_that_cannot_be_run_is_refused_by_name(llm: LLM, field: str, value: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        measure(llm, Workload(**{field: value}))
    assert caught.value.param == field


def test_the_command_prints_every_round(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--rounds", "2", "--tokens", "4", "--sentences", "1", "--threads", "1"]
    app(["bench", "--model", str(tiny), *sizes, "--json"], standalone_mode=False)
    report = json.loads(capsys.readouterr().out)
    assert len(report["rounds"]) == 2
    assert report["decode_share_of_bare_loop"] > 0
    assert report["mask_seconds_per_token"] > 0
