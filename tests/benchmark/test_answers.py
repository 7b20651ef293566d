"""Rounds on a tiny model: what is counted, what is refused; never how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.benchmark import Workload, measure
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.llm import LLM

SMALL = Workload(rounds=2, sentences=1, tokens=8)
PROBE = 1 << 20  # bytes


def test_every_round_is_measured_but_the_first(llm: LLM) -> None:
    done: list[int] = []
    report = measure(llm, SMALL, done.append, PROBE)
    assert done == [0, 1, 2]
    assert len(report.rounds) == SMALL.rounds
    for one in report.rounds:
        assert one.prompt_tokens > 100
        assert min(one.prompt_rate, one.decode_rate, one.bare_decode_rate, one.bandwidth) > 0
        assert len(one.gaps) < SMALL.tokens
        assert all(gap >= 0 for gap in one.gaps)
    assert len(report.mask_seconds) > SMALL.rounds
    assert min(report.mask_seconds) > 0
    assert report.peak_memory > 10**7
    assert report.threads == 1


def test_a_step_reads_the_weights_and_what_it_looks_back_on(llm: LLM) -> None:
    (one,) = measure(llm, Workload(rounds=1, sentences=1, tokens=8), None, PROBE).rounds
    behind = one.prompt_tokens + 4
    assert one.step_bytes == llm.step_bytes.weights + behind * llm.step_bytes.row
    assert 0 < llm.step_bytes.weights < llm.memory.weights


def test_a_prompt_longer_than_a_batch_is_read_by_the_bare_loop_too(llm: LLM) -> None:
    request = Workload(sentences=10).request(llm, 0)
    assert len(llm.prompt_tokens(request)) > 512
    assert llm.time_bare_loop(request, 2).prompt_seconds > 0


@pytest.mark.parametrize(
    ("field", "value"), [("rounds", 0), ("sentences", 0), ("tokens", 1), ("sentences", 10_000)]
)
def test_a_workload_that_cannot_be_run_is_refused_by_name(llm: LLM, field: str, value: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        measure(llm, Workload(**{field: value}))
    assert caught.value.param == field
