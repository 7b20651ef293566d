"""The machines that a model can be planned for: the one we run on, or another by name or by size.

What a machine has, in numbers, and how its memory's speed was come by: measured by somebody, or, of
a machine that is not here, from what its maker publishes. No program reaches that, so it bounds.
Knows no model.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge import cgroups
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.host import Host, free_swap, probe_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.workers import Lent

GIB = 1 << 30  # memory is sold by it, and called GB
SYSTEM_BYTES = 10**9  # a system without a desktop, and what little else runs there
DESKTOP_BYTES = 4 * 10**9  # one with a desktop, and a browser that is not too greedy

_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?G(?:I?B)?", re.IGNORECASE)
_LEAST, _MOST = 1, 8192  # GiB; anything else is a slip
_USUAL_CORES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a plan is made for.

    Attributes:
        name: `this machine`, a preset's name, or a size.
        title: what it is, for people.
        host: memory and cores, as far as we may use them.
        bandwidth: bytes a second that memory is read with; None is not known.
        bandwidth_source: how that is known, or why it is not.
        memory_limit: bytes that a container grants; None where the machine itself has no more.
        swap: free bytes of it; None is not known.
        disk: where models are kept; None on a machine that is not here.
        free_disk: bytes there; None is not known.
        metal: whether Apple's accelerator is there, which works in the same memory.
        lent: what other machines offer to take layers in.
    """

    name: str
    title: str
    host: Host
    bandwidth: float | None = None
    bandwidth_source: str = "not known"
    memory_limit: int | None = None
    swap: int | None = None
    disk: Path | None = None
    free_disk: int | None = None
    metal: bool = False
    lent: tuple[Lent, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether it is the one we run on."""
        return self.disk is not None

    def reading_at(self, bandwidth: float, source: str) -> Machine:
        """The same, with its memory's speed in bytes a second, and how that is known."""
        return replace(self, bandwidth=bandwidth, bandwidth_source=source)

    def with_workers(self, lent: Sequence[Lent]) -> Machine:
        """The same, with other machines beside it."""
        return replace(self, lent=tuple(lent))

    def emptied(self) -> Machine:
        """The same, with nothing running but its system."""
        most = max(self.host.available_memory, self.host.total_memory - SYSTEM_BYTES)
        return replace(self, host=replace(self.host, available_memory=most))


@dataclass(frozen=True, slots=True)
class Board:
    """What machines of one kind share.

    Attributes:
        title: what people call it.
        cores: that compute.
        bandwidth: bytes a second.
        source: what says so.
        system: bytes that its own programs keep.
        metal: as in `Machine`.
    """

    title: str
    cores: int
    bandwidth: float
    source: str
    system: int
    metal: bool = False


_PI5 = Board("Raspberry Pi 5", 4, 17.1e9, "32 bits of LPDDR4X-4267", SYSTEM_BYTES)
_N100 = Board("mini PC with an N100", 4, 38.4e9, "64 bits of DDR5-4800", SYSTEM_BYTES)
_LAPTOP = Board(
    "laptop with two channels of memory", 6, 89.6e9, "128 bits of DDR5-5600", DESKTOP_BYTES
)
_M1 = Board("MacBook with an M1", 4, 68.3e9, "128 bits of LPDDR4X-4267", DESKTOP_BYTES, metal=True)
_M2 = Board("MacBook with an M2 or M3", 4, 100e9, "Apple's own figure", DESKTOP_BYTES, metal=True)
_M4 = Board("MacBook with an M4", 4, 120e9, "Apple's own figure", DESKTOP_BYTES, metal=True)
_M4_PRO = Board("Mac with an M4 Pro", 8, 273e9, "Apple's own figure", DESKTOP_BYTES, metal=True)

PRESETS: dict[str, tuple[Board, int]] = {  # the second: GiB
    "pi5-8gb": (_PI5, 8),
    "pi5-16gb": (_PI5, 16),
    "n100-16gb": (_N100, 16),
    "laptop-16gb": (_LAPTOP, 16),
    "laptop-32gb": (_LAPTOP, 32),
    "macbook-m1-16gb": (_M1, 16),
    "macbook-16gb": (_M2, 16),
    "macbook-24gb": (_M4, 24),
    "mac-m4-pro-48gb": (_M4_PRO, 48),
}


def this_machine(models: Path, root: Path = Path("/")) -> Machine:
    """The one under `root`; `models` is the folder for them, which need not be there yet."""
    host = probe_host(root)
    granted = min((limit.most for limit in cgroups.memory_limits(root)), default=None)
    return Machine(
        name="this machine",
        title=host.processor,
        host=host,
        memory_limit=granted if granted == host.total_memory else None,
        swap=free_swap(),
        disk=models,
        free_disk=free_bytes(models),
        metal=sys.platform == "darwin" and platform.machine() == "arm64",
    )


def another_machine(text: str) -> Machine:
    """A preset by its name, or any machine by its memory, as in `16GB`.

    Raises:
        InvalidRequest: `text` is neither.
    """
    preset = PRESETS.get(text.lower())
    if preset is None:
        return _sold(text, f"a machine with {text}", _memory(text), SYSTEM_BYTES, _USUAL_CORES)
    board, gib = preset
    machine = _sold(text.lower(), board.title, gib * GIB, board.system, board.cores)
    return replace(
        machine.reading_at(board.bandwidth, f"on paper ({board.source})"), metal=board.metal
    )


def memory_size(text: str) -> int | None:
    """`16GB` in bytes, as memory is sold; None if it is no size, or a slip."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not _LEAST <= float(match[1]) <= _MOST:
        return None
    return round(float(match[1]) * GIB)


def free_bytes(folder: Path) -> int | None:
    """What the disk under `folder` still takes, there already or not; None if it does not tell."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _sold(name: str, title: str, memory: int, system: int, cores: int) -> Machine:
    """A machine with `memory` bytes, of which all that its system does not keep is free."""
    host = Host(
        total_memory=memory,
        available_memory=max(0, memory - system),
        logical_cpus=cores,
        usable_cpus=cores,
        cpu_quota=None,
        performance_cores=cores,
        processor=title,
    )
    return Machine(name=name, title=title, host=host)


def _memory(text: str) -> int:
    size = memory_size(text)
    if size is None:
        known = ", ".join(PRESETS)
        raise InvalidRequest(
            f"--for is {text!r}; it must be a size, as in 16GB, or one of {known}", "--for"
        )
    return size
