"""As much of ggml's RPC as it takes to bring a worker a tensor of bytes, fetch it, or kill the server."""

from __future__ import annotations

import socket
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.workers import WorkerAddress, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60  # seconds

_ALLOC_BUFFER, _GET_BASE, _SET, _SET_HASH, _GET, _HELLO = 0, 3, 6, 7, 8, 14
_TENSOR = struct.Struct("<QIQ4I4II16ii10QQQQ64si")  # ggml-rpc.cpp: rpc_tensor
_I8 = 24  # ggml's type of bytes


@dataclass(frozen=True)
class Client:
    """One that is connected, and has memory there for tensors of `size` bytes."""

    connection: socket.socket
    buffer: int
    base: int
    size: int

    def bring(self, data: bytes, *, keep: bool = True) -> None:
        """Send a tensor, to be kept on the worker's disk or not; over when it is there."""
        self._say(_SET, self._tensor() + bytes([keep]) + bytes(8) + data)
        self.fetch()

    def is_known(self, name: str) -> bool:
        """Whether the worker has the tensor of this hash; it is the one there then."""
        known = self._ask(_SET_HASH, self._tensor() + bytes(8) + struct.pack("<Q", int(name, 16)))
        return known == b"\x01"

    def fetch(self) -> bytes:
        """The tensor there."""
        return self._ask(_GET, self._tensor() + struct.pack("<QQ", 0, self.size))

    def kill(self) -> None:
        """Say something that ggml asserts not to be said."""
        self._say(_SET, self._tensor(at=self.base - 1) + bytes(9))
        assert self.connection.recv(1) == b""

    def _tensor(self, at: int | None = None) -> bytes:
        shape = (self.size, 1, 1, 1, 1, self.size, self.size, self.size)
        place = self.base if at is None else at
        rest = [0] * (1 + 16 + 1 + 10 + 2)  # operation, its parameters, flags, sources, view
        return _TENSOR.pack(1, _I8, self.buffer, *shape, *rest, place, b"t", 0)

    def _say(self, command: int, body: bytes) -> None:
        self.connection.sendall(struct.pack("<BQ", command, len(body)) + body)

    def _ask(self, command: int, body: bytes) -> bytes:
        self._say(command, body)
        [size] = struct.unpack("<Q", self._exactly(8))
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            more = self.connection.recv(size - len(received))
            assert more, "the worker hung up"
            received += more
        return received


@contextmanager
def connected(address: WorkerAddress, size: int = 64) -> Iterator[Client]:
    """A client of a worker that listens."""
    probe(address, PATIENCE)
    with socket.create_connection((address.host, address.port), PATIENCE) as connection:
        bare = Client(connection, 0, 0, size)
        bare._ask(_HELLO, bytes(24))
        buffer, _ = struct.unpack("<QQ", bare._ask(_ALLOC_BUFFER, struct.pack("<IQ", 0, size)))
        [base] = struct.unpack("<Q", bare._ask(_GET_BASE, struct.pack("<Q", buffer)))
        yield Client(connection, buffer, base, size)
