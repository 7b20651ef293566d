"""Builds of Mistral Small's shape by their sizes, and machines by their memory."""

from __future__ import annotations

from dataclasses import replace

from mistral_small_edge.advice import Candidate, Sight
from mistral_small_edge.host import Host
from mistral_small_edge.machines import Machine
from tests.test_memory import MISTRAL_SMALL, PROJECTOR

GB = 10**9
SIZES = {  # GB; the usual one first
    "Q4_K_M": 14.3,
    "Q4_K_S": 13.5,
    "Q3_K_M": 11.5,
    "Q2_K": 8.9,
    "Q6_K": 19.3,
    "Q8_0": 25.1,
}
SIGHT = Sight(PROJECTOR, missing=PROJECTOR.file_size)


def candidate(name: str, *, here: bool = False) -> Candidate:
    size = round(SIZES[name] * GB)
    header = replace(
        MISTRAL_SMALL,
        parameter_bytes=size,
        layer_bytes=(round(0.94 * size / 40),) * 40,
        step_bytes=round(0.97 * size),
    )
    return Candidate(name=name, header=header, missing=0 if here else size)


def candidates(*, here: str | None = None) -> list[Candidate]:
    return [candidate(name, here=name == here) for name in SIZES]


def machine(
    available: float, *, bandwidth: float | None = 50, free_disk: float | None = None
) -> Machine:
    """In GB, and GB a second."""
    memory = round(available * GB)
    host = Host(
        total_memory=memory + 2 * GB,
        available_memory=memory,
        logical_cpus=8,
        usable_cpus=8,
        cpu_quota=None,
        performance_cores=4,
    )
    return Machine(
        name="a machine",
        title="of the tests",
        host=host,
        bandwidth=None if bandwidth is None else bandwidth * GB,
        free_disk=None if free_disk is None else round(free_disk * GB),
    )
