"""`worker` from the outside: what it lends and says, what it survives, and that nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from mistral_small_edge.lending import kept_in
from mistral_small_edge.lending.fnv import Fnv
from mistral_small_edge.workers import probe
from tests.lending.rpc_client import PATIENCE, connected
from tests.lending.worker_process import WORKER, next_line, started

PROGRAM = (sys.executable, "-m", "mistral_small_edge")
PROC_TCP = Path("/proc/net/tcp")
SIZE = 1000  # bytes


def server_of(process: subprocess.Popen[str]) -> psutil.Process:
    [child] = psutil.Process(process.pid).children()
    return child


def name_of(data: bytes) -> str:
    fnv = Fnv()
    fnv.update(data)
    return fnv.name


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, path


def test_it_lends_and_says_so_and_a_signal_ends_it_all() -> None:
    with started("--memory", "1.5GB") as (process, address):
        lent = probe(address, PATIENCE)
        assert lent.total == 3 << 29
        assert f"--worker {address}" in next_line(process, "the other machine")
        child = server_of(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
        assert not psutil.pid_exists(child.pid)


def test_a_parent_that_is_killed_leaves_no_server() -> None:
    with started() as (process, _):
        child = server_of(process)
        process.kill()
        child.wait(PATIENCE)


def test_a_client_that_kills_the_server_kills_no_worker() -> None:
    with started() as (process, address):
        with connected(address) as client:
            client.kill()
        died = next_line(process, "died")
        assert re.search(r"ggml-rpc\.cpp:\d+: GGML_ASSERT", died)
        assert " /" not in died
        assert "lends" in next_line(process, "lends")
        assert probe(address, PATIENCE).free > 0


def test_a_client_that_stays_is_told_of_and_a_look_is_not() -> None:
    with started() as (process, address):
        with connected(address):
            assert next_line(process, "uses").startswith("127.0.0.1 uses it")
        assert next_line(process, "free").startswith("free again, after ")
        probe(address, PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(not PROC_TCP.exists(), reason="there is no /proc")
def test_a_client_whose_machine_is_gone_is_noticed() -> None:
    """Or the worker would be its for ever: the system asks after it while nothing else is said."""
    with started() as (_, address), connected(address) as client:
        here, there = (client.connection.getpeername()[1], client.connection.getsockname()[1])
        rows = [line.split() for line in PROC_TCP.read_text().splitlines()]
        [timer] = [
            row[5]
            for row in rows
            if row[1].endswith(f":{here:04X}") and row[2].endswith(f":{there:04X}")
        ]
        assert timer.startswith("02:"), "the timer that runs is not keepalive's"


@pytest.mark.model
def test_a_model_answers_the_same_with_its_layers_here() -> None:
    ask = [*PROGRAM, "ask", "--local", "--model", "toy", "--threads", "1", "--context", "512"]
    ask += ["--temperature", "0", "--no-prompt-cache", "What is the capital of France?"]
    with started() as (_, address):
        alone, together = (
            subprocess.run(
                [*ask, *worker], capture_output=True, timeout=PATIENCE, check=True
            ).stdout
            for worker in ((), ("--worker", str(address)))
        )
    assert alone == together != b""


def test_what_was_sent_is_kept_and_what_is_torn_is_not_given_out(tmp_path: Path) -> None:
    whole, torn = os.urandom(SIZE), os.urandom(SIZE)
    with started("--cache-dir", str(tmp_path)) as (process, address):
        with connected(address, SIZE) as client:
            assert not client.is_known(name_of(whole))
            client.bring(whole)
            client.bring(torn)
        wait_for(tmp_path / "sound.json")
        child = server_of(process)
        process.kill()
        child.wait(PATIENCE)  # it holds the folder as long as it may write there
    (tmp_path / name_of(torn)).write_bytes(torn[:-10])
    with (
        started("--cache-dir", str(tmp_path)) as (_, address),
        connected(address, SIZE) as client,
    ):
        assert not client.is_known(name_of(torn))
        assert client.is_known(name_of(whole))
        assert client.fetch() == whole
    assert [one.path.name for one in kept_in(tmp_path)] == [name_of(whole)]


def test_nothing_is_kept_unless_somebody_says_so(cache_folder: Path) -> None:
    with started() as (_, address), connected(address, SIZE) as client:
        client.bring(bytes(SIZE))
        assert not client.is_known(name_of(bytes(SIZE)))
    assert not (cache_folder / "tensors").exists()


def test_two_workers_do_not_share_a_folder(tmp_path: Path) -> None:
    with started("--cache-dir", str(tmp_path)):
        assert "another worker's" in refused("--cache-dir", str(tmp_path))


def refused(*words: str) -> str:
    done = subprocess.run(
        [*WORKER, "--port", "0", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    [*_, last] = done.stderr.splitlines()  # there may be a warning before it
    assert last.startswith("error: ")
    return last


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "8.8.8.8"), "insist with --insecure"),
        (("--host", "8.8.8.8", "--insecure"), "cannot be listened on"),
        (("--host", "::1"), "IPv4 addresses only"),
        (("--threads", "0"), "--threads"),
        (("--memory", "lots"), "--memory"),
        (("--memory", "0.1GB"), "--memory"),
        (("--cache-dir", "/dev/null"), "/dev/null"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: tuple[str, ...], said: str) -> None:
    assert said in refused(*words)


def test_a_port_in_use_is_one_sentence() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        assert "in use" in refused("--port", str(taken.getsockname()[1]))


def test_where_others_may_come_there_is_a_warning() -> None:
    command = [*WORKER, "--port", "0", "--host", "0.0.0.0", "--insecure"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("warning: ")
        finally:
            process.kill()
