"""The machine: how many threads and why, memory, and what holds its clock down.

Read from /proc and /sys below a root; where a system tells nothing, that is what is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_small_edge import cgroups
from mistral_small_edge.doctor.report import UNREADABLE, Fact, Finding, Section
from mistral_small_edge.errors import readable_size
from mistral_small_edge.host import choose_threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mistral_small_edge.host import Host

_CPUS = "sys/devices/system/cpu"
_SLOW_GOVERNORS = frozenset({"powersave", "conservative", "userspace"})
# Under these drivers `powersave` is no slow clock: the processor itself chooses.
_OWN_GOVERNORS = ("intel_pstate", "amd-pstate", "amd_pstate")
_HOT = 85.0  # degrees Celsius; boards and laptops slow down from here on
_RASPBERRY = "sys/devices/platform/soc/soc:firmware/get_throttled"
# Bits of what a Raspberry Pi says; 16 further on the same has been since it was started.
_RASPBERRY_SAYS = {
    0: "its supply's voltage is too low",
    1: "its clock is capped",
    2: "it is throttled",
}
_SINCE = 16


def threads(host: Host) -> Section:
    """How many compute, and what decided it."""
    chosen, cores, quota = choose_threads(host), host.performance_cores, host.cpu_quota
    facts = [
        Fact("processor", host.processor or UNREADABLE),
        Fact("logical processors", f"{host.logical_cpus}, {host.usable_cpus} of them for us"),
        Fact("performance cores", str(cores)),
        Fact("quota", "none" if quota is None else f"{quota:g} processors' time"),
        Fact("threads", f"{chosen}: {_reason(chosen, cores)}"),
    ]
    findings = []
    if chosen < cores:
        text = f"a container's quota of {quota:g} processors leaves {cores - chosen} cores idle"
        findings.append(Finding("note", text, "grant more, as with docker run --cpus"))
    if host.usable_cpus < host.logical_cpus:
        text = f"the affinity mask keeps us off {host.logical_cpus - host.usable_cpus} processors"
        findings.append(Finding("note", text, "look at taskset, or the container's --cpuset-cpus"))
    return Section("threads", tuple(facts), tuple(findings))


def memory(host: Host, root: Path, *, swap: int) -> Section:
    """What there is, what of it we may have, and in what pages.

    Args:
        swap: free bytes of it.
    """
    granted = min((limit.most for limit in cgroups.memory_limits(root)), default=None)
    limited = granted is not None and granted <= host.total_memory
    facts = (
        Fact("total", readable_size(host.total_memory)),
        Fact("available", readable_size(host.available_memory)),
        Fact("container's limit", readable_size(granted) if limited and granted else "none"),
        Fact("free swap", readable_size(swap)),
        Fact(
            "transparent huge pages", _chosen(root / "sys/kernel/mm/transparent_hugepage/enabled")
        ),
        Fact("reserved huge pages", _reserved(root)),
    )
    findings = []
    if host.available_memory < host.total_memory // 3:
        used = readable_size(host.total_memory - host.available_memory)
        text = f"{used} are taken by others: a model that does not fit is read from disk at every token"
        findings.append(Finding("note", text, "close what is not needed"))
    return Section("memory", facts, tuple(findings))


def clock(root: Path) -> Section:
    """What keeps the processor from its full speed, as far as the system tells."""
    governors = _distinct(root, "cpufreq/scaling_governor")
    driver = ", ".join(_distinct(root, "cpufreq/scaling_driver"))
    heat = max(_temperatures(root), default=None)
    facts = (
        Fact("governor", ", ".join(governors) or UNREADABLE),
        Fact("driver", driver or UNREADABLE),
        Fact("hottest sensor", UNREADABLE if heat is None else f"{heat:.0f} °C"),
        Fact("throttled so far", _throttle_count(root)),
    )
    findings = []
    if _SLOW_GOVERNORS.intersection(governors) and not driver.startswith(_OWN_GOVERNORS):
        findings.append(
            Finding(
                "warning",
                f"the governor {', '.join(governors)} keeps the clock low",
                f"echo performance | sudo tee /{_CPUS}/cpu*/cpufreq/scaling_governor",
            )
        )
    if heat is not None and heat >= _HOT:
        text = f"a sensor reads {heat:.0f} °C: the processor slows down, if it has not already"
        findings.append(Finding("warning", text, "let air in, or compute with fewer --threads"))
    return Section("clock", facts, (*findings, *_raspberry(root)))


def _reason(chosen: int, cores: int) -> str:
    if chosen < cores:
        return "what the container's quota feeds"
    return "one for each performance core that we may use"


def _chosen(path: Path) -> str:
    """Of `always [madvise] never` the one in brackets."""
    return cgroups.read_text(path).partition("[")[2].partition("]")[0] or UNREADABLE


def _reserved(root: Path) -> str:
    values = dict(
        line.split(":", 1)
        for line in cgroups.read_text(root / "proc/meminfo").splitlines()
        if ":" in line
    )
    count = values.get("HugePages_Total", "").strip()
    size = values.get("Hugepagesize", "").split()
    if not (count.isdecimal() and size and size[0].isdecimal()):
        return UNREADABLE
    return f"{count} of {readable_size(int(size[0]) << 10)}"


def _distinct(root: Path, name: str) -> list[str]:
    """What the cores' files of that name say, each once."""
    said = (cgroups.read_text(path) for path in sorted(root.glob(f"{_CPUS}/cpu[0-9]*/{name}")))
    return sorted({text for text in said if text})


def _temperatures(root: Path) -> Iterator[float]:
    for path in root.glob("sys/class/thermal/thermal_zone*/temp"):
        text = cgroups.read_text(path)
        if text.removeprefix("-").isdecimal():
            yield int(text) / 1000


def _throttle_count(root: Path) -> str:
    """Times since the system was started, of the core that was most often."""
    said = _distinct(root, "thermal_throttle/core_throttle_count")
    counts = [int(text) for text in said if text.isdecimal()]
    return f"{max(counts)} times" if counts else UNREADABLE


def _raspberry(root: Path) -> Iterator[Finding]:
    text = cgroups.read_text(root / _RASPBERRY)
    try:
        bits = int(text, 16)
    except ValueError:
        return
    for bit, what in _RASPBERRY_SAYS.items():
        advice = "take the 27 W supply" if bit == 0 else "give it a fan"
        if bits >> bit & 1:
            yield Finding("warning", f"the Raspberry Pi says that {what}", advice)
        elif bits >> (bit + _SINCE) & 1:
            yield Finding("note", f"the Raspberry Pi says that {what} at times", advice)
