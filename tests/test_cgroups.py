"""Limits of control groups, version 1 and 2, nested, hidden and unreadable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.cgroups import MemoryLimit, cpu_quotas, memory_limits
from tests.test_host import lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

V2 = "31 30 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = """\
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
42 31 0:39 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"""
UNLIMITED = 9223372036854771712

NESTED_V2 = {
    "proc/self/cgroup": "0::/user.slice/app.scope",
    "proc/self/mountinfo": V2,
    "sys/fs/cgroup/user.slice/memory.max": "8000",
    "sys/fs/cgroup/user.slice/memory.current": "5000",
    "sys/fs/cgroup/user.slice/memory.stat": "anon 1\nfile 4000\ninactive_file 1500\nactive_file 500",
    "sys/fs/cgroup/user.slice/cpu.max": "200000 100000",
    "sys/fs/cgroup/user.slice/app.scope/memory.max": "max",
    "sys/fs/cgroup/user.slice/app.scope/memory.current": "900",
    "sys/fs/cgroup/user.slice/app.scope/cpu.max": "max 100000",
}
DOCKER_V1 = {
    "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/",
    "proc/self/mountinfo": V1,
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(UNLIMITED),
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "70000",
    "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "6000",
    "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "4000",
    "sys/fs/cgroup/memory/docker/abc/memory.stat": "inactive_file 1\ntotal_inactive_file 1000",
    "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us": "-1",
    "sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
    "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "350000",
    "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
}
# Inside a container the mounted part begins at our own group, whose path /proc still tells whole.
INSIDE_V1 = {
    "proc/self/cgroup": "4:memory:/docker/abc/job\n1:cpu,cpuacct:/docker/abc/job",
    "proc/self/mountinfo": V1.replace("0:33 / ", "0:33 /docker/abc ").replace(
        "0:30 / ", "0:30 /docker/abc "
    ),
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "6000",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "500",
    "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4000",
    "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "100",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
}
OVERDRAWN = {
    "proc/self/cgroup": "0::/../elsewhere",
    "proc/self/mountinfo": V2,
    "sys/fs/cgroup/memory.max": "1000",
    "sys/fs/cgroup/memory.current": "1200",
}
NONSENSE = {
    "proc/self/cgroup": "what\n0::/a\n",
    "proc/self/mountinfo": f"too short\n{V2}\n - \n",
    "sys/fs/cgroup/a/memory.max": "lots",
    "sys/fs/cgroup/a/memory.current": "",
    "sys/fs/cgroup/a/cpu.max": "100000 0",
}


@pytest.mark.parametrize(
    ("files", "memory", "quotas"),
    [
        (NESTED_V2, [MemoryLimit(8000, 5000)], [2.0]),
        (DOCKER_V1, [MemoryLimit(6000, 3000), MemoryLimit(UNLIMITED, UNLIMITED - 70000)], [3.5]),
        (INSIDE_V1, [MemoryLimit(4000, 3900), MemoryLimit(6000, 5500)], [0.5]),
        (OVERDRAWN, [MemoryLimit(1000, 0)], []),
        (NONSENSE, [], []),
        ({}, [], []),
    ],
    ids=["nested v2", "docker v1", "inside v1", "overdrawn", "nonsense", "nothing"],
)
def test_limits(
    tmp_path: Path, files: Mapping[str, str], memory: list[MemoryLimit], quotas: list[float]
) -> None:
    root = lay_out(tmp_path, files)
    assert memory_limits(root) == memory
    assert cpu_quotas(root) == quotas


def test_a_directory_where_a_file_should_be_sets_no_limit(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"proc/self/cgroup": "0::/", "proc/self/mountinfo": V2})
    (root / "sys/fs/cgroup/memory.max").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").symlink_to("cpu.max")
    assert memory_limits(root) == []
    assert cpu_quotas(root) == []
