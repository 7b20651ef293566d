"""A worker for tests, in a process of its own, that can be killed, stopped and had again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Self

from mistral_small_edge.errors import WorkerUnreachable
from mistral_small_edge.lending.process import COMMAND
from mistral_small_edge.workers import WorkerAddress, probe

if TYPE_CHECKING:
    from types import TracebackType

_PATIENCE = 30.0  # seconds until it listens
_BETWEEN = 0.05


class Lender:
    """Lends this machine at a port of its own, the same one whenever it is started again."""

    def __init__(self, memory: int | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = WorkerAddress("127.0.0.1", free.getsockname()[1])
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Lend; returns once it can be connected to."""
        order = {
            "address": str(self.address),
            "threads": 1,
            "memory": self._memory,
            "cache": None,
        }
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        tick = threading.Event()
        for _ in range(round(_PATIENCE / _BETWEEN)):
            try:
                probe(self.address)
            except WorkerUnreachable:
                tick.wait(_BETWEEN)
            else:
                return
        raise TimeoutError(f"{self.address} lends nothing")

    def kill(self) -> None:
        """End it, as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def freeze(self) -> None:
        """Have it stand still, its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()
