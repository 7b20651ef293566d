"""Listening and stopping: uvicorn around the app, on a socket that is already bound."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI

    from mistral_small_edge.config import ServerConfig

# The engine's thread must not wait longer than that for the interpreter when a step is computed and
# the event loop has answers to send; Python's own 5 ms are half a step of a small model.
_SWITCH_SECONDS = 0.0005


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any that is free.

    Raises:
        InvalidRequest: the address is taken, not this machine's, or not to be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidRequest(
            f"{host} port {port} cannot be listened on: {reason}", "port"
        ) from None
    # What is accepted takes after it. asyncio would set this itself, but not where the protocol was
    # left to the system: small answers would wait 40 ms for the client's acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a client on this machine finds it."""
    host, port = listening.getsockname()[:2]
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - named, not bound
    named = anywhere.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{named}:{port}"


def new_server(app: FastAPI, config: ServerConfig) -> uvicorn.Server:
    """A server to be given a listening socket: `run(sockets=[…])`.

    It serves until a signal says to stop; running answers have `config.grace` seconds then.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        http="h11",
        ws="none",
        timeout_graceful_shutdown=round(config.grace),
    )
    return _Server(settings)


class _Server(uvicorn.Server):
    """The first signal lets running answers finish, a second one, of either kind, does not."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Take a signal."""
        self.force_exit = self.should_exit
        self.should_exit = True
