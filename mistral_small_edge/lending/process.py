"""Lends, and goes on lending: ggml's server in a process of its own, watched and started again.

ggml ends its process on input that makes no sense, and whoever reaches the port can send some. So the
server runs in a child that is watched from here, and what it prints is read here: who comes and who goes.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from mistral_small_edge.errors import (
    WorkerBusy,
    WorkerFailed,
    WorkerIncompatible,
    WorkerUnreachable,
)
from mistral_small_edge.workers import Lent, WorkerAddress, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from mistral_small_edge.lending.tensors import Tensors

logger = logging.getLogger("mistral_small_edge.llama")

# -P: a file in the working directory that is called like a library is none.
COMMAND = (sys.executable, "-P", "-m", "mistral_small_edge.lending.child")
HOPELESS = 3  # its exit code where the next one would not fare better
PAUSE = 0.5  # seconds before a server is started again, doubled for each that died young
_MOST_DEATHS = 5
_YOUNG = 10.0  # seconds
_STARTING = 0.1  # seconds between two looks whether it listens
_TICK = 1.0  # seconds between two looks at a client and the disk; a shorter visit was only a look
_ANY = "0.0.0.0"  # noqa: S104 - asked about, not bound
_LAST_WORDS = 20  # lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is lent, and where.

    Attributes:
        address: an IPv4 address of this machine, and a port that was free.
        threads: that compute.
        memory: bytes at most; None is whatever is free.
    """

    address: WorkerAddress
    threads: int
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Checking:
    """`size` bytes of tensors are read again before anybody is given them."""

    size: int


@dataclass(frozen=True, slots=True)
class Listening:
    """Clients can come, `again` if this server is not the first.

    `lent` is None if one is there already, and keeps us from asking.
    """

    lent: Lent | None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Came:
    """A client is here, and stays; `host` is its address, or nothing if the system does not tell."""

    host: str


@dataclass(frozen=True, slots=True)
class Gone:
    """It has left after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CacheClosed:
    """Nothing is kept or found any more until this client has gone: there is no room."""


@dataclass(frozen=True, slots=True)
class Died:
    """The server did, because of `reason`; it is started again in `pause` seconds."""

    reason: str
    pause: float


Event = Checking | Listening | Came | Gone | CacheClosed | Died


def lend(
    offer: Offer,
    tensors: Tensors | None,
    tell: Callable[[Event], None],
    stop: int,
    *,
    command: Sequence[str] = COMMAND,
    pause: float = PAUSE,
) -> None:
    """Lend until `stop`, a descriptor, can be read.

    Args:
        tensors: where those that come are kept; None is nowhere.
        tell: called with what happens.

    Raises:
        WorkerFailed: the server cannot be had here, or died young too often.
        WorkerIncompatible: the llama.cpp that is linked speaks another version than this program.
    """
    deaths, again = 0, False
    while _checked(tensors, tell, stop):
        begun = time.monotonic()
        with _child(offer, tensors, command) as child:
            reason = _Watch(offer, tensors, tell, child, again=again).until(stop)
        if reason is None:
            return
        again = True
        deaths = deaths + 1 if time.monotonic() - begun < _YOUNG else 1
        if deaths == _MOST_DEATHS or child.returncode == HOPELESS:
            raise WorkerFailed(str(offer.address), reason)
        wait = pause * 2 ** (deaths - 1)
        tell(Died(reason, wait))
        if _is_readable(stop, wait):
            return


def _checked(tensors: Tensors | None, tell: Callable[[Event], None], stop: int) -> bool:
    """Check what an earlier server has left and open the folder; whether that was let be finished."""
    if tensors is None:
        return not _is_readable(stop)
    tensors.close_door()
    if size := tensors.unchecked():
        tell(Checking(size))
    for _ in tensors.check():
        if _is_readable(stop):
            return False
    if not tensors.open_door():
        tell(CacheClosed())
    return True


@contextmanager
def _child(
    offer: Offer, tensors: Tensors | None, command: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server at work; it does not outlive the block, nor this process."""
    with subprocess.Popen(  # noqa: S603 - ourselves
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        # While it lives, nobody else writes where it writes.
        pass_fds=() if tensors is None else (tensors.lock,),
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # or ggml calls a debugger
    ) as child:
        try:
            assert child.stdin is not None  # noqa: S101 - it was asked for
            with suppress(BrokenPipeError):  # why, it says at its end
                child.stdin.write(_order(offer, tensors))
            yield child
        finally:
            child.kill()


def _order(offer: Offer, tensors: Tensors | None) -> bytes:
    order = {
        "address": str(offer.address),
        "threads": offer.threads,
        "memory": offer.memory,
        "cache": None if tensors is None else str(tensors.door),
    }
    return json.dumps(order).encode() + b"\n"


class _Watch:
    """One server, from its start to its end."""

    def __init__(
        self,
        offer: Offer,
        tensors: Tensors | None,
        tell: Callable[[Event], None],
        child: subprocess.Popen[bytes],
        *,
        again: bool,
    ) -> None:
        self._address = offer.address
        self._tensors = tensors
        self._tell = tell
        self._child = child
        self._again = again
        self._unfinished = b""  # a line
        self._last: deque[str] = deque(maxlen=_LAST_WORDS)
        self._listens = False
        self._visit: _Visit | None = None
        self._checking: Generator[None] | None = None

    def until(self, stop: int) -> str | None:
        """Watch; why it ended, or None if `stop` could be read first."""
        assert self._child.stdout is not None  # noqa: S101 - it was asked for
        output = self._child.stdout.fileno()
        while True:
            ready, _, _ = select.select([output, stop], [], [], self._patience())
            if stop in ready:
                return None
            if output in ready:
                said = os.read(output, 1 << 16)
                if not said:
                    return _end(self._child.wait(), self._last)
                self._hear(said)
            if not ready or (self._visit is not None and self._visit.is_due):
                self._look()

    def _patience(self) -> float | None:
        """Seconds until there is something to do here, if nothing is heard."""
        if not self._listens:
            return _STARTING
        if self._visit is not None:
            return _TICK
        return None if self._checking is None else 0

    def _hear(self, said: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + said).split(b"\n")
        for line in lines:  # as ggml prints them
            match line.decode("utf-8", "replace").strip():
                case "Accepted client connection":
                    self._visit, self._checking = _Visit(), None
                case "Client connection closed":
                    self._end_visit()
                case text if text:
                    self._last.append(text)
                    logger.debug("%s", text)

    def _end_visit(self) -> None:
        if self._visit is not None and self._visit.told:
            self._tell(Gone(self._visit.seconds))
        self._visit = None
        if self._tensors is not None:
            self._checking = self._tensors.check()

    def _look(self) -> None:
        if not self._listens:
            self._ask()
        elif self._visit is not None:
            self._look_at(self._visit)
        elif self._tensors is not None and self._checking is not None:
            self._check(self._checking, self._tensors)

    def _check(self, checking: Generator[None], tensors: Tensors) -> None:
        try:
            next(checking)
        except StopIteration:
            self._checking = None
            tensors.open_door()

    def _look_at(self, visit: _Visit) -> None:
        visit.looked = time.monotonic()
        if not visit.told:
            visit.told = True
            self._tell(Came(_client(self._child.pid, self._address.port)))
        if self._tensors is None or not self._tensors.is_open:
            return
        if not self._tensors.make_room(unused_since=visit.since):
            self._tensors.close_door()
            self._tell(CacheClosed())

    def _ask(self) -> None:
        """Whether it listens, and what it says of itself."""
        host = "127.0.0.1" if self._address.host == _ANY else self._address.host
        lent = None
        try:
            lent = probe(WorkerAddress(host, self._address.port))
        except WorkerBusy:  # somebody was quicker
            pass
        except WorkerUnreachable:
            return
        except WorkerIncompatible as error:
            if error.theirs is None:  # it died just then
                return
            raise
        self._listens = True
        self._tell(Listening(lent, self._again))


class _Visit:
    """A client that is here; `told` once it has stayed for longer than a look takes."""

    def __init__(self) -> None:
        self.since = time.time_ns()
        self._begun = self.looked = time.monotonic()
        self.told = False

    @property
    def seconds(self) -> float:
        """For how long it has been here."""
        return time.monotonic() - self._begun

    @property
    def is_due(self) -> bool:
        """Whether it is to be looked at again, however much there is to hear."""
        return time.monotonic() - self.looked >= _TICK


def _client(pid: int, port: int) -> str:
    """Who is connected to the server; nothing if the system does not tell."""
    with suppress(psutil.Error):
        for connection in psutil.Process(pid).net_connections("tcp4"):
            here = connection.laddr.port == port
            if here and connection.status == psutil.CONN_ESTABLISHED:
                return str(connection.raddr.ip)
    return ""


def _end(code: int, said: Sequence[str]) -> str:
    """Why a process ended that was not told to."""
    if code == -signal.SIGKILL:
        return "it was killed, perhaps for want of memory"
    where, _, words = (said[-1] if said else "").partition(" ")
    last = f": {where.rpartition('/')[2]} {words}".rstrip()  # not where it was compiled
    return f"it died (code {code}){last if said else ''}"


def _is_readable(descriptor: int, seconds: float = 0) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])
