"""How much is read to measure memory; never how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.bandwidth import ReadingProbe, cache_bytes, probe_bytes

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.mark.parametrize(
    ("cache", "free", "expected"),
    [
        (0, 16 << 30, 256 * MIB),
        (32 * MIB, 16 << 30, 256 * MIB),
        (384 * MIB, 64 << 30, 1536 * MIB),
        (384 * MIB, 2 << 30, 512 * MIB),
        (0, 0, MIB),
    ],
)
def test_several_times_the_cache_and_not_all_of_memory(
    cache: int, free: int, expected: int
) -> None:
    assert probe_bytes(cache, free) == expected


def describe_cache(root: Path, cpu: int, level: int, size: str, shared: str) -> None:
    directory = root / f"sys/devices/system/cpu/cpu{cpu}/cache/index{level}"
    directory.mkdir(parents=True)
    (directory / "level").write_text(f"{level}\n")
    (directory / "size").write_text(f"{size}\n")
    (directory / "shared_cpu_list").write_text(f"{shared}\n")


def test_a_cache_that_cores_share_counts_once(tmp_path: Path) -> None:
    for cpu, shared in enumerate(("0-1", "0-1", "2-3", "2-3")):
        describe_cache(tmp_path, cpu, 2, "1024K", str(cpu))
        describe_cache(tmp_path, cpu, 3, "32768K", shared)
    assert cache_bytes(tmp_path) == 64 * MIB


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert cache_bytes(tmp_path) == 0
    describe_cache(tmp_path, 0, 3, "much", "0")
    assert cache_bytes(tmp_path) == 0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_all_of_it_is_read_by_any_number_of_threads(threads: int) -> None:
    assert ReadingProbe(threads, 100_000).measure(0.0) > 0
