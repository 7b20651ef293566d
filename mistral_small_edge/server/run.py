"""Serving and stopping: uvicorn around the app, on a socket that is already bound."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI

    from mistral_small_edge.config import ServerConfig

# The engine's thread must not wait longer than that for the interpreter when a step is computed and
# the event loop has answers to send; Python's own 5 ms are half a step of a small model.
_SWITCH_SECONDS = 0.0005


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
        http="httptools",
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
