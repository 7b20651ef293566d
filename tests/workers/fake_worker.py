"""Servers that are no workers, or not as they should be: each says something and waits to be left."""

from __future__ import annotations

import socket
import struct
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING

from mistral_small_edge.workers import PROTOCOL, WorkerAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60  # seconds


def answer(body: bytes) -> bytes:
    """As ggml sends it."""
    return struct.pack("<Q", len(body)) + body


def hello(version: tuple[int, int, int] = PROTOCOL) -> bytes:
    """The first answer."""
    return answer(bytes([*version, 0]) + bytes(24))


def memory(free: int, total: int) -> bytes:
    """The second."""
    return answer(struct.pack("<QQ", free, total))


@contextmanager
def serving(act: Callable[[socket.socket], None]) -> Iterator[WorkerAddress]:
    """A server on loopback that acts on the first connection, and closes it then."""

    def serve() -> None:
        with suppress(OSError), listening.accept()[0] as connection:
            connection.settimeout(PATIENCE)
            act(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=serve)
        thread.start()
        try:
            yield WorkerAddress("127.0.0.1", listening.getsockname()[1])
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # or it would go on waiting for somebody
            thread.join(PATIENCE)


def saying(*answers: bytes) -> Callable[[socket.socket], None]:
    """One answer to each question, and then nothing until the other side hangs up."""

    def act(connection: socket.socket) -> None:
        for one in answers:
            if not connection.recv(1024):
                return
            connection.sendall(one)
        while connection.recv(1024):
            pass

    return act
