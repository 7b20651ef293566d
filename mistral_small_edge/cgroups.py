"""The limits that control groups set on this process: memory and processor time.

Versions 1 and 2, from our own group up to the top of what is mounted: a limit anywhere on the way
counts. What cannot be read sets no limit. Every path hangs from `root`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Bytes one group may have at most, and those of them that can still be had."""

    most: int
    free: int


def memory_limits(root: Path) -> list[MemoryLimit]:
    """Of every group that sets one."""
    modern = [
        _memory_limit(group, "memory.max", "memory.current", "")
        for group in _groups(root, "cgroup2", "")
    ]
    legacy = [
        _memory_limit(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        for group in _groups(root, "cgroup", "memory")
    ]
    return [limit for limit in (*modern, *legacy) if limit is not None]


def cpu_quotas(root: Path) -> list[float]:
    """Processors' worth of time, of every group that sets a quota."""
    modern = [_quota(*_two(group / "cpu.max")) for group in _groups(root, "cgroup2", "")]
    legacy = [
        _quota(read_text(group / "cpu.cfs_quota_us"), read_text(group / "cpu.cfs_period_us"))
        for group in _groups(root, "cgroup", "cpu")
    ]
    return [quota for quota in (*modern, *legacy) if quota is not None]


def read_text(path: Path) -> str:
    """A small system file's text without the line's end; empty if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _memory_limit(group: Path, most: str, used: str, prefix: str) -> MemoryLimit | None:
    limit, usage = read_text(group / most), read_text(group / used)
    if not (limit.isdecimal() and usage.isdecimal()):
        return None
    # File pages are given up under pressure, the active ones too: the weights that an earlier
    # run mapped are of this kind, and are no reason to refuse the next run.
    held = int(usage) - sum(
        _statistic(group, f"{prefix}{kind}") for kind in ("inactive_file", "active_file")
    )
    return MemoryLimit(int(limit), max(0, int(limit) - max(0, held)))


def _statistic(group: Path, name: str) -> int:
    for line in read_text(group / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0


def _two(path: Path) -> tuple[str, str]:
    quota, _, period = read_text(path).partition(" ")
    return quota, period


def _quota(quota: str, period: str) -> float | None:
    """`max` and -1 stand for none."""
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None
    return int(quota) / int(period)


def _groups(root: Path, kind: str, controller: str) -> list[Path]:
    """The directories of our group and its ancestors in one hierarchy, as far as it is mounted."""
    ours = _our_group(root, controller)
    mount = _mount(root, kind, controller)
    if ours is None or mount is None:
        return []
    top, directory = mount
    inside = ours.relative_to(top) if ours.is_relative_to(top) else PurePosixPath()
    if ".." in inside.parts:  # outside of what our namespace shows
        inside = PurePosixPath()
    return [directory / part for part in (inside, *inside.parents)]


def _our_group(root: Path, controller: str) -> PurePosixPath | None:
    """Our path in the hierarchy of a version 1 controller, or in version 2's (no controller)."""
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            return PurePosixPath(path)
    return None


def _mount(root: Path, kind: str, controller: str) -> tuple[PurePosixPath, Path] | None:
    """The group a mounted hierarchy begins at, and the directory where it is mounted."""
    for line in read_text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (filesystem, _, options) = before.split(), after.partition(" ")
        if len(fields) < 5 or filesystem != kind:
            continue
        if not controller or controller in options.split(" ")[-1].split(","):
            return PurePosixPath(fields[3]), root / fields[4].lstrip("/")
    return None
