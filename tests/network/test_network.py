"""Across a network: the same answers, whatever the cables do, and no machine that goes unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from mistral_small_edge.llm import LLM
from mistral_small_edge.workers.address import DEFAULT_PORT
from tests.lending.worker_process import WORKER, next_line
from tests.network.asker import ALONE, ANSWERS, answer_of
from tests.network.hosts import Network, Quality, missing
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MAIN, FIRST, SECOND = range(3)
PATIENCE = 120.0  # seconds that an asker lives
NOTICED = 20.0  # seconds; a connection is given up after about 10
WIFI = Quality(delay=20, loss=0.02)
SLOW = Quality(rate=300_000)


class Worker:
    """`mistral-small-edge worker` on a host."""

    def __init__(self, network: Network, at: int) -> None:
        self._host = network.hosts[at]
        self.address = f"{network.address(at)}:{DEFAULT_PORT}"
        self.start()

    def start(self) -> None:
        """Lend; returns once it listens."""
        host = self.address.partition(":")[0]
        self._process = subprocess.Popen(
            self._host.command(*WORKER, "--host", host), stderr=subprocess.PIPE, text=True
        )
        next_line(self._process, "lends")

    def kill(self) -> None:
        """End it, as a power cut does."""
        self._process.kill()
        self._process.communicate()


class Asker:
    """A process on the main host, that has a model shared with workers on the others."""

    def __init__(self, network: Network, model: Path, workers: Sequence[Worker]) -> None:
        asker = (sys.executable, "-m", "tests.network.asker", str(model))
        self._process = subprocess.Popen(
            network.hosts[MAIN].command(*asker, *(worker.address for worker in workers)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._end = threading.Timer(PATIENCE, self._process.kill)
        self._end.start()

    def tell(self, word: str) -> None:
        """Say what to do."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def hear(self, about: str) -> Any:
        """What it has to say about that; what comes before is about something else."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if about in said:
                return said[about]
            assert "error" not in said, said
        raise AssertionError(f"it has ended, and said nothing about {about}")

    def ask(self, word: str, about: str) -> Any:
        """Have something done; what came of it."""
        self.tell(word)
        return self.hear(about)

    def kill(self) -> None:
        """End it."""
        self._end.cancel()
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True, slots=True)
class Split:
    """A model on three hosts."""

    network: Network
    workers: tuple[Worker, Worker]
    asker: Asker


@contextmanager
def split(model: Path, quality: Quality | None = None) -> Iterator[Split]:
    """One that is still to be told to load."""
    if why := missing(quality):
        pytest.skip(why)
    with ExitStack() as held:
        network = held.enter_context(Network(3, quality))
        workers = (Worker(network, FIRST), Worker(network, SECOND))
        for worker in workers:
            held.callback(worker.kill)
        asker = Asker(network, model, workers)
        held.callback(asker.kill)
        yield Split(network, workers, asker)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = TinyShape(layers=4, width=256, hidden=512)
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf", shape=shape)


@pytest.fixture(scope="module")
def expected(tiny: Path) -> list[str]:
    """What one machine answers."""
    with LLM.load(tiny, ALONE) as alone:
        return answer_of(alone)


def test_a_model_on_three_hosts_survives_their_cables(tiny: Path, expected: list[str]) -> None:
    with split(tiny) as there:
        asker, lost = there.asker, there.workers[1].address
        assert len(asker.ask("load", "loaded")) == 2
        assert asker.ask("answer", "answer") == expected

        asker.ask("lose", "begun")
        there.network.cut(SECOND)
        told = asker.hear("told")
        assert told["ends"] == [["WorkerLost", lost]] * ANSWERS
        assert told["seconds"] < NOTICED
        there.network.mend(SECOND)
        asker.ask("return", "back")
        assert asker.ask("answer", "answer") == expected

        asker.ask("lose", "begun")
        there.workers[1].kill()
        assert asker.hear("told")["ends"] == [["WorkerLost", lost]] * ANSWERS
        there.workers[1].start()
        asker.ask("return", "back")

        asker.tell("miss")  # nobody asks the model anything meanwhile
        there.workers[0].kill()
        assert asker.hear("missed") == ["WorkerLost", there.workers[0].address]
        there.workers[0].start()
        asker.ask("return", "back")
        assert asker.ask("answer", "answer") == expected


def test_late_and_lost_packets_change_no_answer(tiny: Path, expected: list[str]) -> None:
    with split(tiny, WIFI) as there:
        there.asker.ask("load", "loaded")
        assert there.asker.ask("answer", "answer") == expected


def test_a_cable_that_is_pulled_while_weights_are_sent(tiny: Path) -> None:
    with split(tiny, SLOW) as there:
        assert there.asker.ask("load", "reading") < 1
        there.network.cut(FIRST)
        assert there.asker.hear("error") == ["WorkerLost", there.workers[0].address]
