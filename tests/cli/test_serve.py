"""`serve` from the outside: what it says, how it starts, how it stops."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

import httpx2
import pytest

from scripts.toy.tekken import Tekken
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60  # seconds
SERVE = (sys.executable, "-m", "mistral_small_edge", "serve", "--threads", "1")
ENDLESS = {
    "model": "mistral-small-3.2",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 900,
    "logit_bias": {"2": -100},
    "stream": True,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "noise.gguf"
    shape = TinyShape(context=1024)
    return write_tiny_model(path, chat_template=None, tekken=Tekken(), shape=shape)


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, ready; its URL."""
    command = [*SERVE, "--port", "0", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            loading, ready, curl = (process.stderr.readline() for _ in range(3))
            assert "loading" in loading
            assert "ready" in ready, ready
            assert curl.startswith("  curl ")
            yield process, re.match(r"\S+", ready)[0]  # type: ignore[index]
        finally:
            process.kill()


def test_it_says_where_it_is_and_the_line_it_gives_works(model: Path) -> None:
    slots = ("--slots", "2", "--at-once", "2")
    command = [*SERVE, "--port", "0", *slots, "--model", str(model)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        _, ready, curl = (process.stderr.readline() for _ in range(3))
        assert re.search(r"ready: noise, 2 slots of 1024 tokens, \d+\.\d MB planned", ready)
        answer = subprocess.run(
            ["sh", "-c", curl], capture_output=True, timeout=PATIENCE, check=True
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"]


def test_a_first_signal_lets_answers_finish(model: Path) -> None:
    with started("--model", str(model)) as (process, url):
        with httpx2.stream("POST", f"{url}/v1/chat/completions", json=ENDLESS) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            last = [line for line in lines if line][-1]
        assert last == "data: [DONE]"
        assert process.wait(PATIENCE) == 0


def test_a_killed_server_leaves_its_port_to_the_next(model: Path) -> None:
    with started("--model", str(model)) as (process, url):
        process.kill()
        process.wait(PATIENCE)
    port = url.rpartition(":")[2]
    with started("--model", str(model), "--port", port) as (_, again):
        assert again == url
        assert httpx2.get(f"{again}/health").json()["status"] == "ready"


def refused(*words: str) -> str:
    done = subprocess.run(
        [*SERVE, *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_port_in_use_is_one_sentence(model: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        assert "in use" in refused("--model", str(model), "--port", port)


def test_an_address_of_ones_own_needs_a_key(model: Path, tmp_path: Path) -> None:
    assert "--api-key" in refused("--model", str(model), "--host", "0.0.0.0", "--port", "0")
    empty = tmp_path / "keys"
    empty.write_text("\n \n")
    assert "holds no key" in refused("--model", str(model), "--api-key-file", str(empty))
    assert "cannot be read" in refused("--model", str(model), "--api-key-file", str(tmp_path))


def test_no_more_answers_are_expected_than_there_are_slots(model: Path) -> None:
    said = refused("--model", str(model), "--slots", "2", "--at-once", "3")
    assert "at_once is 3, and no more than 2 are computed" in said


def test_keys_from_a_file_open_the_door(model: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("one\ntwo\n")
    with started("--model", str(model), "--api-key-file", str(keys)) as (_, url):
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        two = {"Authorization": "Bearer two"}
        assert httpx2.get(f"{url}/v1/models", headers=two).status_code == 200


def test_a_model_that_is_not_there_is_one_sentence() -> None:
    done = subprocess.run(
        [*SERVE, "--model", "no-such-model"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no model 'no-such-model'")


def test_a_model_that_fails_to_load_is_told_here_and_at_the_door(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    command = [*SERVE, "--port", "0", "--model", str(broken)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[0]
        assert "broken.gguf" in process.stderr.readline()
        assert httpx2.get(f"{url}/health").json()["status"] == "failed"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def wait_until_closed(url: str) -> None:
    """Also one who waits at the door while it is closed is turned away, with no word."""
    with suppress(httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError):
        while True:
            httpx2.get(f"{url}/health", timeout=PATIENCE)


def cut_off(lines: Iterator[str]) -> bool:
    """Whether the connection ended in the middle of an answer."""
    try:
        return not list(lines)
    except httpx2.RemoteProtocolError:
        return True


def test_a_second_signal_waits_for_nobody(model: Path) -> None:
    patient = ENDLESS | {"n": 4, "max_tokens": 1000}
    with started("--model", str(model)) as (process, url), ExitStack() as held:
        answers = [
            httpx2.stream("POST", f"{url}/v1/chat/completions", json=patient, timeout=PATIENCE)
            for _ in range(6)
        ]
        lines = [held.enter_context(answer).iter_lines() for answer in answers]
        for some in lines:
            next(some)
        process.send_signal(signal.SIGTERM)
        wait_until_closed(url)  # the first is heard
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert any(map(cut_off, lines))
