"""Answers, measured beside what bounds them.

Figures come from the answers themselves (`Timings`) and from when their pieces arrive, so they are
what a caller gets. Each round also runs a bare llama.cpp loop over the same weights with the same
sampler, and reads memory for a moment: these machines drift, and only a ratio of neighbours says
anything about the program. The ratio is fair if nothing is guessed ahead: the bare loop does not.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

from mistral_small_edge.bandwidth import ReadingProbe
from mistral_small_edge.benchmark.report import BenchmarkReport, Round
from mistral_small_edge.benchmark.workload import FILLED, FORM, Workload
from mistral_small_edge.chat.deltas import TextDelta, collect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mistral_small_edge.chat.deltas import Delta
    from mistral_small_edge.chat.messages import ChatRequest
    from mistral_small_edge.llm import LLM


def measure(
    llm: LLM,
    workload: Workload,
    on_round: Callable[[int], None] | None = None,
    probe_bytes: int | None = None,
) -> BenchmarkReport:
    """Run the workload, once unmeasured to warm up.

    Args:
        on_round: called with the number of rounds done.
        probe_bytes: of memory that is read to know its bandwidth; None takes what is right here.

    Raises:
        ContextLengthExceeded, InvalidRequest: the workload does not fit the context.
    """
    workload.check_fit(llm)
    done = on_round or (lambda _: None)
    llm.answer(workload.request(llm, 0))
    llm.time_masks(FORM, FILLED)  # compiles what is compiled once
    peak = (
        llm.peak_memory()
    )  # no round takes more than the first, and the probe is none of the model's
    probe = ReadingProbe(llm.threads, probe_bytes)
    done(0)
    rounds = []
    for number in range(1, workload.rounds + 1):
        rounds.append(_round(llm, workload.request(llm, number), workload.tokens, probe))
        done(number)
    masks = tuple(
        seconds for _ in range(workload.rounds) for seconds in llm.time_masks(FORM, FILLED)
    )
    return BenchmarkReport(
        model=llm.name,
        threads=llm.threads,
        rounds=tuple(rounds),
        mask_seconds=masks,
        peak_memory=peak,
        alone=not llm.workers,
    )


def _round(llm: LLM, request: ChatRequest, tokens: int, probe: ReadingProbe) -> Round:
    arrivals: list[float] = []
    with llm.stream(request) as stream:
        answer = collect(_noting(stream, arrivals))
    bandwidth = probe.measure()
    usage, timings = answer.usage, answer.timings
    return Round(
        prompt_tokens=usage.prompt_tokens,
        prompt_rate=(usage.prompt_tokens - usage.cached_tokens) / timings.prompt_seconds,
        time_to_first_token=timings.time_to_first_token,
        decode_rate=(usage.completion_tokens - 1) / timings.decode_seconds,
        bare_decode_rate=(tokens - 1) / llm.time_bare_loop(request, tokens).decode_seconds,
        gaps=tuple(after - before for before, after in pairwise(arrivals)),
        bandwidth=bandwidth,
        step_bytes=llm.step_bytes.behind(usage.prompt_tokens + usage.completion_tokens // 2),
    )


def _noting(deltas: Iterable[Delta], arrivals: list[float]) -> Iterator[Delta]:
    """The same deltas; when each piece of text came is noted."""
    for delta in deltas:
        if isinstance(delta, TextDelta):
            arrivals.append(time.perf_counter())
        yield delta
