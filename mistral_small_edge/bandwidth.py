"""How fast this machine reads memory: what bounds the writing of a large model.

A token cannot be written sooner than the weights are read. Measured as they are read: some threads,
each through a part of its own, of an array that no cache holds. Of the processor's cores only, which
on Apple's chips do not reach all that the memory gives.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mistral_small_edge.cgroups import read_text
from mistral_small_edge.host import available_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS = 0.25  # of one measurement

_TIMES_CACHE = 4
_LEAST_BYTES = 256 << 20  # where the system does not tell of a cache
_SHARE = 4  # of the memory that is free: a quarter


class ReadingProbe:
    """An array that is read again and again; it is held as long as the probe."""

    def __init__(self, threads: int, size: int | None = None) -> None:
        """`size` in bytes; None takes several times the cache, as far as memory allows."""
        size = size or probe_bytes(cache_bytes(), available_memory())
        self._parts = np.array_split(np.ones(size, np.uint8), threads)

    def measure(self, seconds: float = SECONDS) -> float:
        """Bytes a second in the best pass of those that begin within `seconds`."""
        size = sum(part.nbytes for part in self._parts)
        end = time.perf_counter() + seconds
        fastest = float("inf")
        with ThreadPoolExecutor(len(self._parts)) as pool:
            while fastest == float("inf") or time.perf_counter() < end:
                begun = time.perf_counter()
                list(pool.map(_read, self._parts))
                fastest = min(fastest, time.perf_counter() - begun)
        return size / fastest


def probe_bytes(cache: int, free: int) -> int:
    """How much to read, with `cache` bytes of last-level caches and `free` bytes of memory."""
    return max(1 << 20, min(max(_LEAST_BYTES, _TIMES_CACHE * cache), free // _SHARE))


def cache_bytes(root: Path = Path("/")) -> int:
    """All last-level caches together; 0 where the system does not tell."""
    sizes: dict[tuple[int, str], int] = {}
    for directory in root.glob("sys/devices/system/cpu/cpu[0-9]*/cache/index[0-9]*"):
        level, size = read_text(directory / "level"), read_text(directory / "size")
        kilobytes = size.removesuffix("K")
        if level.isdecimal() and kilobytes.isdecimal():  # each core tells of those that it shares
            shared = read_text(directory / "shared_cpu_list")
            sizes[int(level), shared] = int(kilobytes) << 10
    last = max((level for level, _ in sizes), default=0)
    return sum(size for (level, _), size in sizes.items() if level == last)


def _read(part: NDArray[np.uint8]) -> int:
    # Of all reductions the one that has a vector instruction for bytes on every processor.
    return int(part.max())
