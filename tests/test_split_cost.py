"""`scripts/split_cost`: what it counts, and what it makes of that."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from scripts import split_cost
from scripts.wire.measuring import Cost
from scripts.wire.networks import NETWORKS, Network
from scripts.wire.tap import Tap, Traffic

if TYPE_CHECKING:
    from pathlib import Path


def converse(server: socket.socket, turns: int) -> None:
    """Answer each three bytes with one."""
    connection, _ = server.accept()
    with connection:
        for _ in range(turns):
            connection.recv(3, socket.MSG_WAITALL)
            connection.sendall(b"!")


def test_a_tap_passes_all_on_and_counts_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = threading.Thread(target=converse, args=(server, 2))
        there.start()
        with Tap(*server.getsockname()) as tap:
            host, port = tap.address.split(":")
            with socket.create_connection((host, int(port))) as client:
                for _ in range(2):
                    client.sendall(b"one")
                    assert client.recv(1) == b"!"
                there.join()
                assert client.recv(1) == b""  # hung up on, as the server has
            assert tap.traffic == Traffic(there=6, back=2, waits=2)


def test_traffic_is_a_quantity() -> None:
    both = Traffic(4, 2, 1) + Traffic(6, 0, 1)
    assert both == Traffic(10, 2, 2)
    assert both - Traffic(6, 0, 1) == Traffic(4, 2, 1)
    assert both / 2 == Traffic(5, 1, 1)


def test_a_network_takes_what_it_carries_and_how_often_it_is_waited_for() -> None:
    network = Network("a slow one", rate=100, round_trip=0.5)
    assert network.seconds(Traffic(there=60, back=40, waits=2)) == 2


def test_an_answer_visits_the_workers_one_after_the_other() -> None:
    traffic = Traffic(there=30_000, back=20_000, waits=1)
    one, three = (
        Cost(workers=n, flash_attention=False, depth=100, read=traffic, written=traffic)
        for n in (1, 3)
    )
    for name, (written, read) in split_cost.rates(one).items():
        assert split_cost.rates(three)[name] == pytest.approx((written / 3, read / 3))
    [gigabit] = [network for network in NETWORKS if network.name == "1 GbE"]
    assert split_cost.rates(one)["1 GbE"][0] == pytest.approx(1 / (0.0002 + 50_000 / gigabit.rate))


def test_the_toy_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "costs.json"
    words = ["--model", "toy", "--workers", "2", "--depths", "150", "--json", str(file)]
    assert split_cost.main(words) == 0
    plain, flash = json.loads(file.read_text(encoding="utf-8"))
    assert (plain["workers"], plain["flash_attention"], flash["flash_attention"]) == (
        2,
        False,
        True,
    )
    for cost in (plain, flash):
        assert cost["depth"] >= 150
        assert cost["written"]["waits"] == 1
        state = 4 * 128  # bytes: the toy is 128 numbers wide
        assert state < cost["written"]["back"] < state + 16
        assert state < cost["written"]["there"] < 20 * state
    # The mask is half as wide, and values lie where they can be written in one piece.
    assert flash["written"]["there"] < plain["written"]["there"]
    assert flash["read"]["there"] < plain["read"]["there"]
    assert "Wi-Fi" in capsys.readouterr().out


def test_what_cannot_be_measured_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert split_cost.main(["--model", "nosuch"]) == 1
    assert "error: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        split_cost.options(["--depths", "0"])
