"""Asks a worker, before ggml does, which protocol it speaks and how much memory it lends.

ggml's client ends the process where a worker is missing or speaks another version, and waits without
end where it says nothing. So it only ever connects to one that has just answered here. A worker
serves one client at a time: it must have been hung up on before.
"""

from __future__ import annotations

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.errors import (
    WorkerBusy,
    WorkerError,
    WorkerIncompatible,
    WorkerUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.workers.address import WorkerAddress

PROTOCOL = (7, 0, 0)  # of the llama.cpp that is linked; source: ggml-rpc.h
SECONDS = 3.0  # for all answers together

# A command is its number, a size, and so many bytes; an answer a size and so many bytes.
_HELLO, _DEVICE_MEMORY = 14, 11
_COMMAND = struct.Struct("<BQ")
_SIZE = struct.Struct("<Q")
_CAPABILITIES = bytes(24)  # none: TCP it is
_VERSION = struct.Struct("<BBBx24x")
_COUNT = struct.Struct("<I")
_MEMORY = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Lent:
    """What a worker offers: `free` of `total` bytes, of its first device. One of ours has no others."""

    address: WorkerAddress
    free: int
    total: int


def probe(address: WorkerAddress, seconds: float = SECONDS) -> Lent:
    """Ask one.

    Raises:
        WorkerUnreachable: nobody answers there.
        WorkerBusy: somebody does, and then says nothing: it serves another client, or hangs.
        WorkerIncompatible: it speaks another version of the protocol, or another one.
    """
    try:
        # ggml's client takes the same one: it knows IPv4 only.
        host = socket.gethostbyname(address.host)
        with socket.create_connection((host, address.port), seconds) as connection:
            return _ask(address, _Line(connection, time.monotonic() + seconds))
    except TimeoutError:
        raise WorkerUnreachable(str(address), f"no answer within {seconds:g} seconds") from None
    except EOFError:
        raise WorkerUnreachable(str(address), "it hung up") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WorkerUnreachable(str(address), reason) from None


def look_at_all(
    addresses: Sequence[WorkerAddress], seconds: float = SECONDS
) -> tuple[Lent | WorkerError, ...]:
    """What each of them offers, or why it is of no use, in their order; all are asked at once."""
    if not addresses:
        return ()
    with ThreadPoolExecutor(len(addresses)) as pool:
        return tuple(pool.map(lambda address: _lent_or_error(address, seconds), addresses))


def probe_all(addresses: Sequence[WorkerAddress], seconds: float = SECONDS) -> tuple[Lent, ...]:
    """What all of them offer, in their order.

    Raises:
        WorkerError: of the first that is of no use.
    """
    found = look_at_all(addresses, seconds)
    for one in found:
        if isinstance(one, WorkerError):
            raise one
    return tuple(one for one in found if isinstance(one, Lent))


def _lent_or_error(address: WorkerAddress, seconds: float) -> Lent | WorkerError:
    try:
        return probe(address, seconds)
    except WorkerError as error:
        return error


def _ask(address: WorkerAddress, line: _Line) -> Lent:
    version = _VERSION.unpack(_greeting(address, line))
    if version != PROTOCOL:
        raise WorkerIncompatible(str(address), _dotted(version), _dotted(PROTOCOL))
    try:
        told = line.question(_DEVICE_MEMORY, _COUNT.pack(0), _MEMORY.size)
    except ValueError:
        raise WorkerIncompatible(str(address), None, _dotted(PROTOCOL)) from None
    free, total = _MEMORY.unpack(told)
    return Lent(address, free, total)


def _greeting(address: WorkerAddress, line: _Line) -> bytes:
    """What comes back to the first word: other programs say other things."""
    try:
        return line.question(_HELLO, _CAPABILITIES, _VERSION.size)
    except TimeoutError:
        raise WorkerBusy(str(address)) from None
    except ValueError:
        raise WorkerIncompatible(str(address), None, _dotted(PROTOCOL)) from None
    except (EOFError, ConnectionError):
        # The end of a tunnel does that, too: it may answer later.
        reason = f"it hung up: nothing is behind a tunnel, or a version before {_dotted(PROTOCOL)}"
        raise WorkerUnreachable(str(address), reason) from None


class _Line:
    """A connection on which everything is over at a moment of `time.monotonic`."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection = connection
        self._end = end

    def question(self, command: int, body: bytes, size: int) -> bytes:
        """One answer of `size` bytes.

        Raises:
            ValueError: it has another size.
            EOFError: there is none.
            TimeoutError: there was none in time, or not all of it.
        """
        self._hurry()
        self._connection.sendall(_COMMAND.pack(command, len(body)) + body)
        [told] = _SIZE.unpack(self._exactly(_SIZE.size))
        if told != size:
            raise ValueError(told)
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            self._hurry()
            more = self._connection.recv(size - len(received))
            if not more:
                raise EOFError
            received += more
        return received

    def _hurry(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
