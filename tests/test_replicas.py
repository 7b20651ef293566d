"""`scripts/replicas`: what it asks of a proxy, what it makes of the answers, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts import replicas as script
from scripts.behind.fates import fate_of
from scripts.behind.load import Held, Talks, hold
from scripts.behind.proxies import FILES, placed
from scripts.beside.client import Client
from tests.fake_chat_server import Ways, fake_chat_server

if TYPE_CHECKING:
    from pathlib import Path

BODY = {"messages": [], "max_tokens": 3, "stream": True}


@pytest.mark.parametrize("keyed", [False, True])
def test_every_turn_of_a_conversation_has_its_key(keyed: bool) -> None:
    with fake_chat_server(ways := Ways()) as port:
        held = hold(Client("fake", port, "words", {}), Talks(2, 3, 5), 10, keyed=keyed)
    assert held.completion_tokens == 2 * 3 * 5
    if not keyed:
        assert ways.sessions == [None] * 6
        return
    asked = zip(ways.sessions, ways.asked, strict=True)
    found = sorted((str(session), len(body["messages"])) for session, body in asked)
    assert found == [(f"conversation {one}", turns) for one in (10, 11) for turns in (2, 4, 6)]


def test_its_figures() -> None:
    held = Held(prompt_tokens=200, cached_tokens=50, completion_tokens=60, seconds=2.0)
    assert (held.rate, held.hits) == (30, 0.25)


@pytest.mark.parametrize(
    ("ways", "fate"),
    [
        (Ways(), "answered"),
        (Ways(status=503), "lost"),
        (Ways(ending=b""), "lost"),  # a connection that ends as if all were told
    ],
)
def test_a_fate_is_what_the_client_sees(ways: Ways, fate: str) -> None:
    with fake_chat_server(ways) as port:
        assert fate_of(port, BODY) == fate


def test_a_request_that_nobody_takes_is_lost() -> None:
    with fake_chat_server(Ways()) as port:
        pass
    assert fate_of(port, BODY) == "lost"


@pytest.mark.parametrize("name", FILES)
def test_each_server_has_its_line(name: str) -> None:
    text = placed(FILES[name].read_text(encoding="utf-8"), 7000, [7001, 7002, 7003, 7004])
    lines = [line for line in text.splitlines() if line.strip().startswith("server ")]
    addresses = [line.rpartition("127.0.0.1:")[2][:4] for line in lines if "127.0.0.1:" in line]
    assert addresses == ["7001", "7002", "7003", "7004"] * (len(addresses) // 4) != []
    assert "127.0.0.1:7000" in text
    assert "127.0.0.1:80" not in text


@pytest.mark.parametrize("words", [["--turns", "7"], ["--replicas", "0"], ["--proxy", "none"]])
def test_what_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        script.options(words)
    assert refused.value.code == 2


def test_a_directory_that_is_not_there_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        script.options(["--json", str(tmp_path / "none" / "file.json")])
