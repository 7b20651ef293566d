"""Which number of compute threads is the fastest here.

Measured with the bare loop, in turn and again: a neighbour on the machine slows all of them down
rather than one. Chooses nothing for anybody: it only recommends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from mistral_small_edge.benchmark.workload import plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_small_edge.host import Host
    from mistral_small_edge.llm import LLM

# Enough to tell: on a large model and one thread even these take minutes.
READ_TOKENS = 128
WRITTEN_TOKENS = 32

_EVERY_COUNT = 8  # threads; from there on the steps grow
_AS_GOOD = 0.97  # of the fastest; the rest is noise


@dataclass(frozen=True, slots=True)
class ThreadSpeed:
    """Tokens a second with so many threads, reading and writing; medians."""

    threads: int
    prompt_rate: float
    decode_rate: float


@dataclass(frozen=True, slots=True)
class ThreadSweep:
    """Every number that was tried, ascending."""

    speeds: tuple[ThreadSpeed, ...]

    @property
    def best_for_prompts(self) -> int:
        """The fewest threads that read as fast as any."""
        return _fewest([(one.threads, one.prompt_rate) for one in self.speeds])

    @property
    def best_for_decode(self) -> int:
        """The fewest threads that write as fast as any."""
        return _fewest([(one.threads, one.decode_rate) for one in self.speeds])


def thread_counts(host: Host) -> tuple[int, ...]:
    """What is worth trying: 1 to the processors that we may use, some left out above 8."""
    most = host.usable_cpus
    if host.cpu_quota is not None:  # more would only wait for each other
        most = max(1, min(most, math.ceil(host.cpu_quota)))
    counts = {*range(1, min(most, _EVERY_COUNT) + 1), most, min(most, host.performance_cores)}
    step = _EVERY_COUNT
    while step < most:
        counts |= {step, min(most, step + step // 2)}
        step *= 2
    return tuple(sorted(counts))


def sweep_threads(
    llm: LLM,
    counts: Sequence[int],
    rounds: int,
    on_done: Callable[[int, int], None] | None = None,
) -> ThreadSweep:
    """Try each number of threads `rounds` times, all of them in each round.

    Args:
        on_done: called with the runs done, and how many there are.
    """
    written = min(WRITTEN_TOKENS, llm.context_length // 4)
    read = min(READ_TOKENS, llm.context_length // 2)
    request = plain_text(llm, read, written)
    tried: dict[int, list[tuple[float, float]]] = {threads: [] for threads in sorted(counts)}
    for number in range(rounds):
        for at, threads in enumerate(tried, start=1):
            times = llm.time_bare_loop(request, written, threads=threads)
            rates = read / times.prompt_seconds, (written - 1) / times.decode_seconds
            tried[threads].append(rates)
            if on_done is not None:
                on_done(number * len(tried) + at, rounds * len(tried))
    return ThreadSweep(
        tuple(
            ThreadSpeed(
                threads,
                median(prompt for prompt, _ in rates),
                median(decode for _, decode in rates),
            )
            for threads, rates in tried.items()
        )
    )


def _fewest(rates: Sequence[tuple[int, float]]) -> int:
    fastest = max(rate for _, rate in rates)
    return min(threads for threads, rate in rates if rate >= _AS_GOOD * fastest)
