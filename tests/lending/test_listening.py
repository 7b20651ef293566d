"""Where a worker may listen, and who can reach it there."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.lending.listening import Reach, bound, listen_at, reach_of
from mistral_small_edge.workers import WorkerAddress


@pytest.mark.parametrize(
    ("host", "own", "reach"),
    [
        ("127.0.0.1", (), Reach.MACHINE),
        ("127.8.9.1", (), Reach.MACHINE),
        ("10.0.0.2", ("8.8.8.8",), Reach.NETWORK),
        ("100.64.0.1", (), Reach.NETWORK),
        ("8.8.8.8", (), Reach.INTERNET),
        ("0.0.0.0", ("127.0.0.1",), Reach.NETWORK),
        ("0.0.0.0", ("127.0.0.1", "192.168.1.4"), Reach.NETWORK),
        ("0.0.0.0", ("127.0.0.1", "192.168.1.4", "8.8.8.8"), Reach.INTERNET),
    ],
)
def test_who_reaches_an_address(host: str, own: tuple[str, ...], reach: Reach) -> None:
    assert reach_of(host, own) is reach


def test_this_machine_tells_its_addresses() -> None:
    assert reach_of("0.0.0.0") in (Reach.NETWORK, Reach.INTERNET)


def test_names_become_addresses() -> None:
    assert listen_at("localhost", 1) == WorkerAddress("127.0.0.1", 1)
    assert listen_at("127.1", 1) == WorkerAddress("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("::1", 1, "--host"),
        ("a..b", 1, "--host"),
        ("x" * 300, 1, "--host"),
        ("127.0.0.1", 65_536, "--port"),
        ("127.0.0.1", -1, "--port"),
    ],
)
def test_what_is_no_address_is_refused_by_name(host: str, port: int, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        listen_at(host, port)


def test_a_port_of_its_own() -> None:
    address = bound(WorkerAddress("127.0.0.1", 0))
    assert address.port
    assert bound(address) == address


def test_a_port_in_use_or_anothers_address_is_refused() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with closing(taken), pytest.raises(InvalidRequest, match="in use"):
        bound(WorkerAddress("127.0.0.1", taken.getsockname()[1]))
    with pytest.raises(InvalidRequest, match=r"192\.0\.2\.1:0 cannot be listened on"):
        bound(WorkerAddress("192.0.2.1", 0))
