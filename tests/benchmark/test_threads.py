"""Which numbers of threads are tried, and which one is recommended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.benchmark import ThreadSweep, sweep_threads, thread_counts
from mistral_small_edge.benchmark.threads import ThreadSpeed
from mistral_small_edge.host import Host

if TYPE_CHECKING:
    from mistral_small_edge.llm import LLM


def host(usable: int, cores: int, quota: float | None = None) -> Host:
    return Host(
        total_memory=1,
        available_memory=1,
        logical_cpus=usable,
        usable_cpus=usable,
        cpu_quota=quota,
        performance_cores=cores,
    )


@pytest.mark.parametrize(
    ("machine", "counts"),
    [
        (host(1, 1), (1,)),
        (host(4, 4), (1, 2, 3, 4)),
        (host(8, 4, 2.5), (1, 2, 3)),
        (host(8, 4, 0.5), (1,)),
        (host(20, 10), (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20)),
        (host(64, 64), (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64)),
    ],
)
def test_counts_that_are_tried(machine: Host, counts: tuple[int, ...]) -> None:
    assert thread_counts(machine) == counts


def test_the_fewest_threads_that_are_as_good_as_the_best() -> None:
    sweep = ThreadSweep(
        (ThreadSpeed(1, 10.0, 5.0), ThreadSpeed(2, 20.0, 9.8), ThreadSpeed(4, 40.0, 10.0))
    )
    assert sweep.best_for_decode == 2
    assert sweep.best_for_prompts == 4


def test_every_count_is_tried_in_every_round(llm: LLM) -> None:
    done: list[tuple[int, int]] = []
    sweep = sweep_threads(llm, (2, 1), 2, lambda so_far, all_: done.append((so_far, all_)))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [one.threads for one in sweep.speeds] == [1, 2]
    assert all(min(one.prompt_rate, one.decode_rate) > 0 for one in sweep.speeds)
    assert llm.threads == 1
