"""A server that dies, in all its ways: what is told, what is started again, and when it is enough."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.errors import WorkerFailed
from mistral_small_edge.lending import (
    CacheClosed,
    Came,
    Died,
    Event,
    Listening,
    Offer,
    Tensors,
    bound,
    lend,
)
from mistral_small_edge.lending.process import HOPELESS
from mistral_small_edge.workers import PROTOCOL, WorkerAddress
from tests.lending.rpc_client import Client, connected
from tests.lending.test_tensors import LARGE, Usage, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAUSE = 0.001  # seconds
# Answers our own probe as a worker does; then it dies.
ANSWERS = f"""
import json, select, socket, struct, sys
port = int(json.loads(sys.stdin.readline())["address"].rpartition(":")[2])
with socket.create_server(("127.0.0.1", port)) as listening:
    connection, _ = listening.accept()
    for said in (
        bytes([*{PROTOCOL}, 0]) + bytes(24), struct.pack("<QQ", 5, 6)
    ):
        connection.recv(1024)
        connection.sendall(struct.pack("<Q", len(said)) + said)
    connection.recv(1)
"""
BRIEF = (
    ANSWERS
    + """
print("/where/it/was/built.cpp:12: an assertion", flush=True)
"""
)
# One client, and no end to what there is to tell of it.
CHATTY = (
    ANSWERS
    + """
print("Accepted client connection", flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    print("saved", flush=True)
"""
)


@contextmanager
def stop_pipe() -> Iterator[tuple[int, Callable[[], None]]]:
    reading, writing = os.pipe()

    def end() -> None:
        os.write(writing, b".")

    with closing(os.fdopen(reading)), closing(os.fdopen(writing, "w")):
        yield reading, end


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def offer() -> Offer:
    return Offer(address=bound(WorkerAddress("127.0.0.1", 0)), threads=1)


def failed(program: str) -> tuple[WorkerFailed, list[Event]]:
    told: list[Event] = []
    with stop_pipe() as (stop, _), pytest.raises(WorkerFailed) as raised:
        lend(offer(), None, told.append, stop, command=python(program), pause=PAUSE)
    return raised.value, told


def test_one_that_always_dies_is_given_up_with_its_last_words() -> None:
    error, told = failed("raise SystemExit('no luck')")
    pauses = [event.pause for event in told if isinstance(event, Died)]
    assert pauses == [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE]
    assert error.reason == "it died (code 1): no luck"


def test_one_that_knows_there_is_no_hope_is_not_started_again() -> None:
    _, told = failed(f"raise SystemExit({HOPELESS})")
    assert told == []


def test_one_that_was_killed_may_have_had_no_memory() -> None:
    error, _ = failed("import os; os.kill(os.getpid(), 9)")
    assert "memory" in error.reason


def test_one_that_dies_later_comes_back_until_it_is_told_to_stop() -> None:
    told: list[Event] = []
    with stop_pipe() as (stop, end):

        def tell(event: Event) -> None:
            told.append(event)
            if len(told) == 4:
                end()

        lend(offer(), None, tell, stop, command=python(BRIEF), pause=PAUSE)
    first, death, second, _ = told
    assert isinstance(first, Listening)
    assert isinstance(second, Listening)
    assert (first.again, second.again) == (False, True)
    assert first.lent is not None
    assert (first.lent.free, first.lent.total) == (5, 6)
    assert death == Died("it died (code 0): built.cpp:12: an assertion", PAUSE)


def test_a_client_is_seen_however_much_is_said() -> None:
    told: list[Event] = []
    with stop_pipe() as (stop, end):

        def tell(event: Event) -> None:
            told.append(event)
            if isinstance(event, Came):
                end()

        lend(offer(), None, tell, stop, command=python(CHATTY))
    assert [type(event) for event in told] == [Listening, Came]


def test_a_disk_that_fills_is_written_to_no_more(tmp_path: Path) -> None:
    """By a real server, while a client is there; what was kept before is not found either."""
    free = [LARGE]
    tensors = Tensors(tmp_path, LARGE, disk=lambda _: Usage(LARGE, free[0]))
    here = offer()
    data = bytes(64)
    told: list[Event] = []
    known: list[bool] = []
    with stop_pipe() as (stop, end), ExitStack() as held:
        held.enter_context(tensors)
        clients: list[Client] = []

        def tell(event: Event) -> None:
            told.append(event)
            match event:
                case Listening():
                    clients.append(held.enter_context(connected(here.address)))
                    clients[0].bring(data)
                    known.append(clients[0].is_known(name_of(data)))
                    free[0] = 0
                case CacheClosed():
                    known.append(clients[0].is_known(name_of(data)))
                    end()

        lend(here, tensors, tell, stop)
    assert [type(event) for event in told] == [Listening, Came, CacheClosed]
    assert known == [True, False]
