"""A tap in a connection: passes everything on between a client and a server, and counts it.

What is counted is what the two programs say to each other, without TCP's own. So it needs no rights,
and nobody else's traffic is in it.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_PIECE = 1 << 18  # bytes


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes to a server and back, and how often the client has waited for what came back."""

    there: float = 0
    back: float = 0
    waits: float = 0

    def __add__(self, other: Self) -> Traffic:
        return Traffic(self.there + other.there, self.back + other.back, self.waits + other.waits)

    def __sub__(self, other: Self) -> Traffic:
        return self + other / -1

    def __truediv__(self, parts: float) -> Traffic:
        return Traffic(self.there / parts, self.back / parts, self.waits / parts)


class Tap:
    """Listens on a port of loopback for those who mean the server at `host` and `port`."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._traffic = Traffic()
        threading.Thread(target=self._listen, name="tap", daemon=True).start()

    @property
    def address(self) -> str:
        """Where to connect to, as `host:port`."""
        host, port = self._listening.getsockname()
        return f"{host}:{port}"

    @property
    def traffic(self) -> Traffic:
        """What has passed since the beginning."""
        with self._lock:
            return self._traffic

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # `accept` returns
        self._listening.close()

    def _listen(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        """Until either hangs up: then the other one is hung up on."""
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            waits = False
            while True:
                for end in select.select([client, server], [], [])[0]:
                    piece = end.recv(_PIECE)
                    if not piece:
                        return
                    if end is client:
                        waits = True
                        self._count(Traffic(there=len(piece)))
                        server.sendall(piece)
                    else:
                        self._count(Traffic(back=len(piece), waits=int(waits)))
                        waits = False
                        client.sendall(piece)

    def _count(self, traffic: Traffic) -> None:
        with self._lock:
            self._traffic += traffic
