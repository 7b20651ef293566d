"""Machines laid out in a directory, and what the doctor finds wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.doctor import Finding, Section, hardware
from mistral_small_edge.host import Host, processor_flags
from tests.test_host import lay_out

if TYPE_CHECKING:
    from pathlib import Path

CPU = "sys/devices/system/cpu"
RASPBERRY = "sys/devices/platform/soc/soc:firmware/get_throttled"
GB = 10**9


def host(cores: int = 4, quota: float | None = None, usable: int = 4, free: int = 12 * GB) -> Host:
    return Host(
        total_memory=16 * GB,
        available_memory=free,
        logical_cpus=4,
        usable_cpus=usable,
        cpu_quota=quota,
        performance_cores=cores,
        processor="Cortex-A76",
    )


def fact(section: Section, name: str) -> str:
    (value,) = (one.value for one in section.facts if one.name == name)
    return value


def levels(section: Section) -> list[tuple[str, bool]]:
    return [(one.level, one.fatal) for one in section.findings]


def test_threads_and_why() -> None:
    section = hardware.threads(host())
    assert fact(section, "threads") == "4: one for each performance core that we may use"
    assert section.findings == ()


def test_a_quota_and_a_mask_are_told() -> None:
    section = hardware.threads(host(cores=3, quota=1.5, usable=3))
    assert fact(section, "threads") == "1: what the container's quota feeds"
    assert fact(section, "quota") == "1.5 processors' time"
    quota, mask = section.findings
    assert "leaves 2 cores idle" in quota.text
    assert "off 1 processor" in mask.text


def test_memory_with_what_the_system_tells(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
            "proc/meminfo": "MemTotal: 1 kB\nHugePages_Total:      16\nHugepagesize:  2048 kB",
            "proc/self/cgroup": "0::/box",
            "proc/self/mountinfo": "1 2 3:4 /box /sys/fs/cgroup rw - cgroup2 cgroup rw",
            "sys/fs/cgroup/memory.max": "8000000000",
            "sys/fs/cgroup/memory.current": "1000",
        },
    )
    section = hardware.memory(host(), tmp_path, swap=2 * GB)
    assert {one.name: one.value for one in section.facts} == {
        "total": "16.0 GB",
        "available": "12.0 GB",
        "container's limit": "8.0 GB",
        "free swap": "2.0 GB",
        "transparent huge pages": "madvise",
        "reserved huge pages": "16 of 2.1 MB",
    }
    assert section.findings == ()


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    section = hardware.memory(host(), tmp_path, swap=0)
    assert fact(section, "transparent huge pages") == "not readable here"
    assert fact(section, "reserved huge pages") == "not readable here"
    assert fact(section, "container's limit") == "none"
    section = hardware.clock(tmp_path)
    assert {one.value for one in section.facts} == {"not readable here"}
    assert section.findings == ()
    assert processor_flags(tmp_path) == frozenset()


def test_memory_that_others_have() -> None:
    from pathlib import Path

    section = hardware.memory(host(free=2 * GB), Path("/nowhere"), swap=0)
    assert levels(section) == [("note", False)]
    assert "14.0 GB" in section.findings[0].text


@pytest.mark.parametrize(
    ("governor", "driver", "warned"),
    [
        ("performance", "acpi-cpufreq", False),
        ("schedutil", "cpufreq-dt", False),
        ("powersave", "cpufreq-dt", True),
        ("conservative", "acpi-cpufreq", True),
        ("powersave", "intel_pstate", False),
        ("powersave", "amd-pstate-epp", False),
    ],
)
def test_governors(tmp_path: Path, governor: str, driver: str, warned: bool) -> None:
    files = {}
    for cpu in range(2):
        files[f"{CPU}/cpu{cpu}/cpufreq/scaling_governor"] = governor
        files[f"{CPU}/cpu{cpu}/cpufreq/scaling_driver"] = driver
    section = hardware.clock(lay_out(tmp_path, files))
    assert (fact(section, "governor"), fact(section, "driver")) == (governor, driver)
    assert levels(section) == ([("warning", False)] if warned else [])


def test_heat_and_how_often_it_was_too_much(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/temp": "41250",
            "sys/class/thermal/thermal_zone1/temp": "91000",
            "sys/class/thermal/thermal_zone2/temp": "broken",
            f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
            f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "11",
        },
    )
    section = hardware.clock(tmp_path)
    assert fact(section, "hottest sensor") == "91 °C"
    assert fact(section, "throttled so far") == "11 times"
    assert levels(section) == [("warning", False)]


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0", []),
        ("50005", [("warning", "voltage"), ("warning", "throttled")]),
        ("20000", [("note", "capped at times")]),
        ("nonsense", []),
    ],
)
def test_what_a_raspberry_pi_says(
    tmp_path: Path, bits: str, expected: list[tuple[str, str]]
) -> None:
    found = hardware.clock(lay_out(tmp_path, {RASPBERRY: bits})).findings
    assert [one.level for one in found] == [level for level, _ in expected]
    assert all(word in one.text for one, (_, word) in zip(found, expected, strict=True))


def test_instructions_of_both_kinds_of_processor(tmp_path: Path) -> None:
    lay_out(tmp_path, {"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu avx2 fma\n\nflags : x"})
    assert processor_flags(tmp_path) == {"fpu", "avx2", "fma"}
    lay_out(tmp_path, {"proc/cpuinfo": "processor : 0\nFeatures\t: fp asimd asimddp"})
    assert processor_flags(tmp_path) == {"fp", "asimd", "asimddp"}


def test_a_finding_is_no_failure_unless_it_says_so() -> None:
    assert not Finding("warning", "x").fatal
