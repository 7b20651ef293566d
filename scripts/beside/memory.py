"""What a process has taken of the memory, as the system counts it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psutil

_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)
_MAPPED = ".gguf"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: `peak` resident, and how much of that is no model file's own pages."""

    peak: int
    beyond_files: int


def memory_of(pid: int) -> Memory:
    """Of a process that still runs; off Linux, what it has now and not at its fullest."""
    process = psutil.Process(pid)
    now: int = process.memory_info().rss
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return Memory(now, now)
    found = _PEAK.search(status.read_text())
    peak = int(found[1]) * 1024 if found else now
    mapped = sum(part.rss for part in process.memory_maps() if part.path.endswith(_MAPPED))
    return Memory(peak, peak - mapped)
