"""Servers as processes: started on a free port, waited for, and stopped whatever happens.

Knows how a server is run, not which; `contenders` does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from scripts.beside.client import Client
from scripts.beside.errors import CompareFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PATIENCE = 900.0  # seconds that a server may take to read its model
_GRACE = 120.0  # seconds to end in: ours writes down what it has read, if it is to
_POLL = 0.005  # seconds
_LOG_LINES = 12
_OURS_AND_THEIRS = ("MISTRAL_SMALL_EDGE_", "LLAMA_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A server that can be started.

    Attributes:
        command: without the port.
        keeps_prompts: the option that takes a directory for what was read to outlive the process.
        banned: logit biases that keep an answer from ending.
    """

    name: str
    command: tuple[str, ...]
    keeps_prompts: str | None = None
    banned: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Server:
    """A contender that runs, ready to be asked; `started` is when its process was (monotonic)."""

    client: Client
    pid: int
    started: float


@contextmanager
def running(
    contender: Contender, prompts: Path | None = None, port: int | None = None
) -> Iterator[Server]:
    """The server, until the block ends; then it has been told to stop, and has.

    Args:
        prompts: where it may keep what it has read, if it can.
        port: any that is free, if none is named.

    Raises:
        CompareFailed: it died, or was never ready.
    """
    port = port or free_port()
    keeping = (contender.keeps_prompts, str(prompts)) if prompts and contender.keeps_prompts else ()
    command = [*contender.command, *keeping, "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = _start(contender.name, command, log.fileno())
        try:
            _wait_until_ready(contender.name, process, port)
            client = Client(contender.name, port, _model(port), contender.banned)
            yield Server(client, process.pid, started)
        except CompareFailed as failure:
            if process.poll() is not None:  # else it was not this one's fault
                failure.log = failure.log or _last_lines(log.fileno())
            raise
        finally:
            _stop(process)


def _start(name: str, command: list[str], log: int) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C is for us, who then stop it in order.
    try:
        return subprocess.Popen(  # noqa: S603 - what the caller named
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise CompareFailed(f"{name} cannot be started: {error}") from error


def _environment() -> dict[str, str]:
    """Ours, without the settings of either server: both are to run with their defaults."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_OURS_AND_THEIRS)
    }


def _wait_until_ready(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.perf_counter() + _PATIENCE
    while (answered := _get(port, "/health"))[0] != 200:
        if process.poll() is not None:
            raise CompareFailed(f"{name} ended with {process.returncode} before it was ready")
        if b'"failed"' in answered[1]:
            process.kill()
            process.wait()
            raise CompareFailed(f"{name} could not load the model")
        if time.perf_counter() > deadline:
            raise CompareFailed(f"{name} was not ready after {_PATIENCE:.0f} seconds")
        time.sleep(_POLL)


def _model(port: int) -> str:
    return str(json.loads(_get(port, "/v1/models")[1])["data"][0]["id"])


def _get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; 0 if nobody is there yet."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


def _last_lines(log: int) -> str:
    size = os.fstat(log).st_size
    text = os.pread(log, 20_000, max(0, size - 20_000)).decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-_LOG_LINES:])
