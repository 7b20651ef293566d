"""Machines laid out in a directory: how many threads each should get."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from mistral_small_edge.host import (
    Host,
    available_memory,
    choose_threads,
    free_swap,
    performance_cores,
    probe_host,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def lay_out(root: Path, files: Mapping[str, str]) -> Path:
    """Write small files below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def cores(*siblings: str, capacities: Iterable[int] = ()) -> dict[str, str]:
    """/sys of a machine: the logical processors of each physical core, and their speeds."""
    files = {}
    for group in siblings:
        first, _, last = group.partition("-")
        for cpu in range(int(first), int(last or first) + 1):
            files[f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = group
    for cpu, capacity in enumerate(capacities):
        files[f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity"] = str(capacity)
    return files


P_CORES = [f"{cpu}-{cpu + 1}" for cpu in range(0, 12, 2)]
E_CORES = [str(cpu) for cpu in range(12, 20)]
INTEL_6P_8E = cores(*P_CORES, *E_CORES) | {"sys/devices/cpu_core/cpus": "0-11"}
RASPBERRY_PI_5 = cores("0", "1", "2", "3")
RK3588 = cores(*map(str, range(8)), capacities=[414] * 4 + [1024] * 4)
SNAPDRAGON = cores(*map(str, range(8)), capacities=[325] * 3 + [768] * 4 + [1024])
SERVER_8_SMT = cores(*(f"{cpu}-{cpu + 1}" for cpu in range(0, 16, 2)))


@pytest.mark.parametrize(
    ("machine", "affinity", "expected"),
    [
        (RASPBERRY_PI_5, range(4), 4),
        (INTEL_6P_8E, range(20), 6),
        (INTEL_6P_8E, [0, 2, 3, 14], 2),
        (INTEL_6P_8E, range(12, 20), 8),
        (RK3588, range(8), 4),
        (RK3588, [0, 1, 4], 1),
        (RK3588, range(4), 4),
        (SNAPDRAGON, range(8), 5),
        (SERVER_8_SMT, range(16), 8),
        (SERVER_8_SMT, [3, 9], 2),
        (SERVER_8_SMT, [8, 9], 1),
    ],
)
def test_performance_cores(
    tmp_path: Path, machine: Mapping[str, str], affinity: Iterable[int], expected: int
) -> None:
    assert performance_cores(lay_out(tmp_path, machine), frozenset(affinity)) == expected


def test_without_topology_the_system_is_asked(tmp_path: Path) -> None:
    physical = psutil.cpu_count(logical=False) or 3
    assert performance_cores(tmp_path, frozenset(range(3))) == min(physical, 3)
    damaged = lay_out(tmp_path, cores("0") | cores("1") | {"sys/devices/cpu_core/cpus": "none"})
    (damaged / "sys/devices/system/cpu/cpu1/topology/thread_siblings_list").write_text("??")
    assert performance_cores(damaged, frozenset(range(2))) == min(physical, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands for macOS's sysctl")
@pytest.mark.parametrize(("answer", "expected"), [("echo 6", 6), ("echo 12", 10)])
def test_macos_counts_its_performance_cores(tmp_path: Path, answer: str, expected: int) -> None:
    root = lay_out(tmp_path, {"usr/sbin/sysctl": f'#!/bin/sh\ntest "$*" = "{SYSCTL}" && {answer}'})
    (root / "usr/sbin/sysctl").chmod(0o755)
    assert performance_cores(root, frozenset(range(10))) == expected


SYSCTL = "-n hw.perflevel0.physicalcpu"


def test_a_sysctl_that_fails_is_no_answer(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"usr/sbin/sysctl": "#!/bin/sh\nexit 1"})
    (root / "usr/sbin/sysctl").chmod(0o755)
    assert performance_cores(root, frozenset({0})) == 1
    (root / "usr/sbin/sysctl").chmod(0o644)
    (root / "usr/sbin/sysctl").write_text("not a program")
    assert performance_cores(root, frozenset({0})) == 1


def host(cores: int, quota: float | None) -> Host:
    return Host(
        total_memory=1,
        available_memory=1,
        logical_cpus=16,
        usable_cpus=16,
        cpu_quota=quota,
        performance_cores=cores,
    )


@pytest.mark.parametrize(
    ("cores", "quota", "threads"),
    [(4, None, 4), (8, 1.5, 1), (8, 3.99, 3), (8, 0.25, 1), (4, 12.0, 4), (1, None, 1)],
)
def test_threads(cores: int, quota: float | None, threads: int) -> None:
    assert choose_threads(host(cores, quota)) == threads


def test_a_container_on_a_big_machine(tmp_path: Path) -> None:
    container = {
        "proc/self/cgroup": "0::/",
        "proc/self/mountinfo": "31 30 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw",
        "sys/fs/cgroup/memory.max": str(300_000_000),
        "sys/fs/cgroup/memory.current": str(100_000_000),
        "sys/fs/cgroup/memory.stat": "anon 70000000\ninactive_file 20000000\nactive_file 5000000",
        "sys/fs/cgroup/cpu.max": "150000 100000",
    }
    root = lay_out(tmp_path, SERVER_8_SMT | container)
    found = probe_host(root, frozenset(range(16)))
    assert found.total_memory == 300_000_000
    assert found.available_memory == available_memory(root) == 225_000_000
    assert (found.usable_cpus, found.performance_cores) == (16, 8)
    assert found.cpu_quota == 1.5
    assert choose_threads(found) == 1


def test_this_machine() -> None:
    found = probe_host()
    assert 0 < found.available_memory <= found.total_memory <= psutil.virtual_memory().total
    assert 1 <= found.performance_cores <= found.usable_cpus <= found.logical_cpus
    assert found.logical_cpus == os.cpu_count()
    assert 0 <= free_swap() <= psutil.swap_memory().total
    assert 1 <= choose_threads(found) <= found.performance_cores
