"""What is found out about a worker before ggml meets it: those that serve, and all that could be there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.errors import (
    WorkerBusy,
    WorkerError,
    WorkerIncompatible,
    WorkerUnreachable,
)
from mistral_small_edge.workers import PROTOCOL, Lent, WorkerAddress, look_at_all, probe, probe_all
from tests.lending.rpc_client import connected
from tests.lending.worker_process import started
from tests.workers.fake_worker import PATIENCE, answer, hello, memory, saying, serving

if TYPE_CHECKING:
    from collections.abc import Callable

BRIEF = 0.2  # seconds
GARBAGE = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


def closed() -> WorkerAddress:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return WorkerAddress("127.0.0.1", listening.getsockname()[1])


def error(act: Callable[[socket.socket], None], seconds: float = PATIENCE) -> WorkerError:
    with serving(act) as address, pytest.raises(WorkerError) as raised:
        probe(address, seconds)
    assert raised.value.worker == str(address)
    return raised.value


def test_a_worker_of_this_program_speaks_what_is_expected() -> None:
    """Fails when llama.cpp is another one: `PROTOCOL` and the bodies here are to be looked at then."""
    with started("--memory", "2GB") as (_, address):
        lent = probe(address, PATIENCE)
        assert (lent.address, lent.total) == (address, 2 << 30)
        assert 0 < lent.free <= lent.total
        with connected(address):  # one client at a time
            assert isinstance(look_at_all([address], BRIEF)[0], WorkerBusy)
        assert probe(address, PATIENCE).total == lent.total


def test_what_it_lends_is_told() -> None:
    with serving(saying(hello(), memory(10, 20))) as address:
        assert probe(address, PATIENCE) == Lent(address, free=10, total=20)


def test_nobody_there() -> None:
    address = closed()
    with pytest.raises(WorkerUnreachable, match="refused"):
        probe(address)
    with pytest.raises(WorkerUnreachable):
        probe(WorkerAddress("a..b"))


def test_silence_is_another_client() -> None:
    assert isinstance(error(saying(), BRIEF), WorkerBusy)


def test_silence_later_on_is_none() -> None:
    assert "0.2 seconds" in error(saying(hello()), BRIEF).reason


def test_hanging_up_is_a_tunnels_end_perhaps() -> None:
    said = error(lambda connection: None)
    assert isinstance(said, WorkerUnreachable)
    assert "tunnel" in said.reason


def test_hanging_up_later_on() -> None:
    def leave(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(hello())
        connection.recv(1024)
        connection.sendall(memory(1, 2)[:5])

    said = error(leave)
    assert isinstance(said, WorkerUnreachable)
    assert said.reason == "it hung up"


def test_another_version_is_named() -> None:
    major, minor, patch = PROTOCOL
    said = error(saying(hello((major + 1, minor, patch))))
    assert isinstance(said, WorkerIncompatible)
    assert (said.theirs, said.ours) == (f"{major + 1}.{minor}.{patch}", f"{major}.{minor}.{patch}")


@pytest.mark.parametrize(
    "answers",
    [
        (GARBAGE,),
        (answer(b"short"),),
        (hello(), answer(bytes(8))),
        (hello(), answer(bytes(2**10))),
    ],
)
def test_another_protocol_has_no_version(answers: tuple[bytes, ...]) -> None:
    said = error(saying(*answers))
    assert isinstance(said, WorkerIncompatible)
    assert said.theirs is None


def test_a_slow_drip_does_not_hold_us_up() -> None:
    """Every byte in time by itself, all of them never."""

    def drip(connection: socket.socket) -> None:
        connection.settimeout(BRIEF / 8)
        while True:
            try:
                if not connection.recv(1024):
                    return
            except TimeoutError:
                connection.sendall(hello()[:1])

    assert isinstance(error(drip, BRIEF), WorkerError)


def test_all_are_asked_at_once_and_the_first_that_fails_is_named() -> None:
    assert look_at_all([]) == ()
    with serving(saying(hello(), memory(1, 2))) as sound, serving(saying()) as mute:
        lent, busy, nobody = look_at_all([sound, mute, closed()], BRIEF)
    assert lent == Lent(sound, free=1, total=2)
    assert isinstance(busy, WorkerBusy)
    assert isinstance(nobody, WorkerUnreachable)
    with serving(saying()) as mute, pytest.raises(WorkerBusy, match=str(mute)):
        probe_all([mute, closed()], BRIEF)
