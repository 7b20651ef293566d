"""What else keeps this machine busy: no figure means much while somebody else computes.

Counted in cores, from the system's clocks less our own and those of the servers, which are our
children.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUIET = 0.15  # cores: what a machine does that does nothing
_LOOK = 0.5  # seconds


class Neighbours:
    """Watches from when it is made."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._before = _others_seconds()

    def busy(self) -> float:
        """Cores that others have kept busy on average, since then."""
        elapsed = time.perf_counter() - self._since
        # The clocks tick in hundredths, each on its own.
        return max(0.0, (_others_seconds() - self._before) / elapsed)


@contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """So many programs of ours that do nothing but compute, meanwhile."""
    with ExitStack() as ended:
        for _ in range(count):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            ended.callback(busy.wait)
            ended.callback(busy.kill)
        yield


def wait_for_quiet(patience: float, look: Callable[[], float] | None = None) -> bool:
    """Whether the machine is ours alone; waits up to `patience` seconds until it is.

    Args:
        look: takes a moment and says how many cores others keep busy.
    """
    look = look or _look
    deadline = time.perf_counter() + patience
    while look() > QUIET:
        if time.perf_counter() > deadline:
            return False
    return True


def _look() -> float:
    watch = Neighbours()
    time.sleep(_LOOK)
    return watch.busy()


def _others_seconds() -> float:
    """Seconds of all cores that went to nobody of ours."""
    clocks = psutil.cpu_times()
    idle = clocks.idle + getattr(clocks, "iowait", 0.0)
    # Linux counts a guest's time as user's too.
    twice = getattr(clocks, "guest", 0.0) + getattr(clocks, "guest_nice", 0.0)
    stolen = getattr(clocks, "steal", 0.0)
    return float(sum(clocks) - idle - twice - stolen) - _our_seconds()


def _our_seconds() -> float:
    """Of this process, its children, and those that have ended."""
    own = psutil.Process()
    return float(sum(own.cpu_times()[:4])) + sum(map(_seconds, own.children(recursive=True)))


def _seconds(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.Error:  # it has just ended
        return 0.0
