"""What this machine lets us use: memory, processors, and the limits set on us.

Read from psutil, /proc, /sys and the cgroups we live in; an unreadable file is no limit. Every
path hangs from `root`, so that a machine can be laid out in a directory. Knows no model.
"""

from __future__ import annotations

import math
import os
import platform
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from mistral_small_edge import cgroups

# A core below this share of the fastest one's capacity is an efficiency core. Those of the field
# have 20-45 % (Cortex-A53 beside A73, A55 beside A76), and one of them in the team holds up all
# others at every barrier; the "big" cores below a single "prime" one have 70-95 %.
BIG_CORE_SHARE = 0.6

_SYSCTL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine, as far as we may use it.

    Attributes:
        total_memory: bytes, or what the tightest cgroup grants.
        available_memory: bytes that can be had without swapping; caches count as free.
        logical_cpus: as the system counts them.
        usable_cpus: logical ones in our affinity mask.
        cpu_quota: processors' worth of time a cgroup grants; None is no quota.
        performance_cores: physical, fast ones in our affinity mask; at least 1.
        processor: what its maker calls it, or as much as the system tells.
    """

    total_memory: int
    available_memory: int
    logical_cpus: int
    usable_cpus: int
    cpu_quota: float | None
    performance_cores: int
    processor: str = ""


def peak_memory() -> int:
    """Bytes that this process has held at its fullest."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def probe_host(root: Path = Path("/"), affinity: frozenset[int] | None = None) -> Host:
    """Look at the machine under `root`; `affinity` None asks the system for our mask."""
    cpus = _affinity() if affinity is None else affinity
    limits = cgroups.memory_limits(root)
    return Host(
        total_memory=min([psutil.virtual_memory().total, *(limit.most for limit in limits)]),
        available_memory=available_memory(root),
        logical_cpus=os.cpu_count() or 1,
        usable_cpus=len(cpus),
        cpu_quota=min(cgroups.cpu_quotas(root), default=None),
        performance_cores=performance_cores(root, cpus),
        processor=_processor(root),
    )


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can be had now without swapping, under the limits set on us."""
    limits = cgroups.memory_limits(root)
    return min([psutil.virtual_memory().available, *(limit.free for limit in limits)])


def free_swap() -> int:
    """Bytes of swap that nothing has been moved to; weights are never to be counted on it."""
    return int(psutil.swap_memory().free)


def choose_threads(host: Host) -> int:
    """One thread a performance core, fewer if the quota would not feed them."""
    quota = host.performance_cores if host.cpu_quota is None else math.floor(host.cpu_quota)
    return max(1, min(host.performance_cores, quota))


def performance_cores(root: Path, cpus: frozenset[int]) -> int:
    """Physical cores among `cpus` (logical numbers), slow ones left out if there are fast ones."""
    fast = _fast_cpus(root / "sys/devices", cpus)
    siblings = {_siblings(root / "sys/devices/system/cpu", cpu) for cpu in fast}
    if None not in siblings:
        return max(1, len(siblings))
    told = _sysctl(root, "hw.perflevel0.physicalcpu") or ""
    counted = int(told) if told.isdecimal() else psutil.cpu_count(logical=False)
    return max(1, min(counted or len(cpus), len(cpus)))


def processor_flags(root: Path = Path("/")) -> frozenset[str]:
    """What the first core has, in the kernel's names (`avx2`, `asimddp`); empty if nobody tells."""
    for line in cgroups.read_text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _fast_cpus(devices: Path, cpus: frozenset[int]) -> frozenset[int]:
    # Intel's hybrids list their P-cores here; other machines have no such directory.
    hybrid = cpus & _cpu_list(cgroups.read_text(devices / "cpu_core/cpus"))
    if hybrid:
        return hybrid
    capacities = {cpu: _capacity(devices / f"system/cpu/cpu{cpu}/cpu_capacity") for cpu in cpus}
    least = max(capacities.values(), default=0) * BIG_CORE_SHARE
    return frozenset(cpu for cpu, capacity in capacities.items() if capacity >= least)


def _capacity(path: Path) -> int:
    """ARM's relative speed, 1024 for the fastest core; 0 where the kernel does not tell."""
    text = cgroups.read_text(path)
    return int(text) if text.isdecimal() else 0


def _siblings(directory: Path, cpu: int) -> frozenset[int] | None:
    """The logical processors of the physical core that `cpu` is part of."""
    text = cgroups.read_text(directory / f"cpu{cpu}/topology/thread_siblings_list")
    return _cpu_list(text) or None


def _cpu_list(text: str) -> frozenset[int]:
    """`0-3,8` as numbers; nothing if it is no such list."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            return frozenset()
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def _processor(root: Path) -> str:
    """Of the first core; parts of ARM's, which has numbers in the place of a name."""
    named = ("model name", "CPU implementer", "CPU part", "Model")
    lines = [line.partition(":") for line in cgroups.read_text(root / "proc/cpuinfo").splitlines()]
    values = dict(reversed([(key.strip(), value.strip()) for key, _, value in lines]))
    found = " ".join(values[name] for name in named if values.get(name))
    return found or _sysctl(root, "machdep.cpu.brand_string") or platform.machine()


def _sysctl(root: Path, name: str) -> str | None:
    """What macOS keeps by that name; None elsewhere."""
    program = root / "usr/sbin/sysctl"
    if not program.is_file():
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program and a fixed name
            [program, "-n", name],
            capture_output=True,
            text=True,
            timeout=_SYSCTL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
