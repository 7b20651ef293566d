"""How fast memory and the models' disk are read; each is measured for a second at most.

What is read from a disk is dropped from the system's cache before, where the system does that when
it is asked (Linux); elsewhere it may have come from memory, and the figure says so.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from mistral_small_edge.bandwidth import ReadingProbe
from mistral_small_edge.doctor.report import UNREADABLE, Fact, Finding, Section
from mistral_small_edge.errors import readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SECONDS = 1.0
_BLOCK = 4 << 20  # bytes read at a time
_MOST = 512 << 20  # bytes read
_SCRATCH = 128 << 20  # bytes written where there is no model to read
_SLOW_DISK = 100e6  # bytes a second: a memory card, a network, a hard disk that is busy


@dataclass(frozen=True, slots=True)
class DiskSpeed:
    """Bytes a second, and whether they came from the disk for certain."""

    rate: float
    cold: bool


def memory_speed(threads: int, model_bytes: int, name: str) -> Section:
    """How fast weights are read, and what that leaves of writing.

    Args:
        model_bytes: of the build `name`, which is what somebody wants to run.
    """
    rate = ReadingProbe(threads).measure()
    facts = (
        Fact("reading", f"{rate / 1e9:.1f} GB/s with {threads} threads"),
        Fact(f"bound on writing with {name}", f"{rate / model_bytes:.1f} tokens/s"),
    )
    return Section("bandwidth", facts)


def disk_speed(models: Sequence[Path], folder: Path, model_bytes: int, name: str) -> Section:
    """How fast a model comes off the disk.

    Args:
        models: files that can be read; the largest one is.
        folder: where a file is written for it if there is none that is large enough, and gone again.
    """
    try:
        speed = _of_models(models) or _of_scratch(folder)
    except OSError as error:
        return Section("disk", (Fact("reading", f"{UNREADABLE}: {error.strerror}"),))
    certain = "" if speed.cold else ", perhaps from memory"
    seconds = model_bytes / speed.rate
    facts = (
        Fact("reading", f"{readable_size(round(speed.rate))}/s{certain}"),
        Fact(f"loading {name} the first time", f"{seconds:.0f} s at the least"),
    )
    findings = []
    if speed.rate < _SLOW_DISK:
        text = f"the models' disk is slow: {readable_size(round(speed.rate))}/s"
        findings.append(
            Finding("note", text, "keep models on another one: HF_HUB_CACHE, or download --to")
        )
    return Section("disk", facts, tuple(findings))


def _of_models(models: Sequence[Path]) -> DiskSpeed | None:
    largest = max(models, key=lambda path: path.stat().st_size, default=None)
    if largest is None or largest.stat().st_size < _SCRATCH // 2:
        return None
    with largest.open("rb", buffering=0) as file:
        return _read(file.fileno(), largest.stat().st_size)


def _of_scratch(folder: Path) -> DiskSpeed:
    place = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    with TemporaryFile(dir=place, buffering=0) as file:
        block = os.urandom(_BLOCK)  # a file system may store nothing of what repeats
        for _ in range(_SCRATCH // _BLOCK):
            file.write(block)
        os.fsync(file.fileno())
        return _read(file.fileno(), _SCRATCH)


def _read(handle: int, size: int) -> DiskSpeed:
    size = min(size, _MOST)
    cold = hasattr(os, "posix_fadvise")
    if cold:
        os.posix_fadvise(handle, 0, size, os.POSIX_FADV_DONTNEED)
    begun, done = time.perf_counter(), 0
    while done < size and time.perf_counter() - begun < _SECONDS:
        read = len(os.pread(handle, min(_BLOCK, size - done), done))
        if not read:
            break
        done += read
    return DiskSpeed(done / max(time.perf_counter() - begun, 1e-9), cold)
