"""Connections to workers: which are broken, and which only closed."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.llama.workers import Connections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def worker() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def name_of(worker: socket.socket) -> str:
    host, port = worker.getsockname()
    return f"{host}:{port}"


def test_one_that_the_worker_has_ended_is_broken(worker: socket.socket) -> None:
    with socket.create_connection(worker.getsockname()) as client:
        connections = Connections([name_of(worker)])
        connections.guard()
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connections.broken() == ()
        worker.accept()[0].close()
        client.recv(1)
        assert connections.broken() == (name_of(worker),)


def test_one_that_was_closed_here_is_not_broken(worker: socket.socket, tmp_path: Path) -> None:
    connections = Connections([name_of(worker)])
    with socket.create_connection(worker.getsockname()) as client:
        connections.guard()
        number = client.fileno()
    assert connections.broken() == ()
    with ExitStack() as held:
        file = held.enter_context((tmp_path / "of the same number").open("w"))
        if file.fileno() != number:
            os.dup2(file.fileno(), number)
            held.callback(os.close, number)
        assert connections.broken() == ()
        connections.end_silent()
        connections.guard()
        assert connections.broken() == ()


def test_one_that_takes_a_closed_ones_number_is_guarded(worker: socket.socket) -> None:
    connections = Connections([name_of(worker)])
    with socket.create_connection(worker.getsockname()) as first:
        connections.guard()
        number = first.fileno()
    with socket.create_connection(worker.getsockname()) as second:
        assert second.fileno() == number
        connections.guard()
        assert second.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_others_are_left_alone(worker: socket.socket) -> None:
    with socket.create_connection(worker.getsockname()) as client:
        Connections(["127.0.0.1:1"]).guard()
        assert not client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
