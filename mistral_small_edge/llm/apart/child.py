"""What runs in a process of its own: `python -m mistral_small_edge.llm.apart.child FD`.

Loads what it is told to, answers over the socket FD, and is gone when nobody listens there any more.
The main thread calls; another reads, so that the end of the other process is noticed whatever is
being computed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mistral_small_edge.engine.outputs import Failed as FailedOutput
from mistral_small_edge.errors import EdgeError, EngineStopped
from mistral_small_edge.llama.workers import Connections, on_abort
from mistral_small_edge.llm.apart.messages import (
    Abort,
    Begin,
    Call,
    Failed,
    FromChild,
    LastWords,
    Logged,
    Outputs,
    Raised,
    Reading,
    Ready,
    Returned,
    Stop,
    ToChild,
    Trying,
)
from mistral_small_edge.llm.loading import load_here

if TYPE_CHECKING:
    from mistral_small_edge.engine.worker import OutputStream
    from mistral_small_edge.llm.computing import Here

_LOOK_EVERY = 0.5  # seconds
_ABANDONED, _LOST = 1, 70  # exit codes


class Line:
    """The way to the other process; any thread may speak."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._speaking = threading.Lock()
        self._asked: SimpleQueue[ToChild] = SimpleQueue()
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def tell(self, message: FromChild) -> None:
        """Send one; if nobody takes it any more, the reader ends the process."""
        with self._speaking, suppress(OSError):
            self._connection.send(message)

    def next(self) -> ToChild:
        """What was asked next, as soon as it is."""
        return self._asked.get()

    def _listen(self) -> None:
        try:
            while True:
                self._asked.put(self._connection.recv())
        except (EOFError, OSError):
            os._exit(_ABANDONED)


class Forwarder(logging.Handler):
    """The log, for the other process."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.tell(Logged(record.name, record.levelno, record.getMessage()))


class Watch:
    """A thread that looks after the connections, and at how long a step takes.

    A worker whose machine is gone is noticed by that. One that hangs keeps its connection: nothing but
    time tells.
    """

    def __init__(self, line: Line, connections: Connections, timeout: float) -> None:
        self.computing: Here | None = None  # once it is there
        self._line = line
        self._connections = connections
        self._timeout = timeout
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def _watch(self) -> None:
        waiting = threading.Event()
        while not waiting.wait(_LOOK_EVERY):
            if self.computing is None:  # ggml still connects
                self._connections.guard()
            elif self.computing.stepping_for() > self._timeout:
                _end(self._line, f"a step has taken more than {self._timeout:g} seconds", ())
            elif lost := self._connections.broken():  # nobody need ask first
                _end(self._line, "the connection broke", lost)
            self._connections.end_silent()


class Answers:
    """The calls, and the answers that they have begun."""

    def __init__(self, line: Line, computing: Here) -> None:
        self._line = line
        self._computing = computing
        self._streams: dict[int, OutputStream] = {}

    def call(self, call: Call) -> None:
        """Do it, and tell what comes of it."""
        try:
            if call.method == "submit":
                self._begin(call)
            else:
                value = getattr(self._computing, call.method)(*call.arguments)
                self._line.tell(Returned(call.number, value))
        except EdgeError as error:
            self._line.tell(Raised(call.number, error))

    def abort(self, number: int) -> None:
        """Give an answer up, if it has not ended."""
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.close()

    def _begin(self, call: Call) -> None:
        *arguments, speculate = call.arguments
        stream = self._computing.submit(*arguments, speculate=speculate)  # type: ignore[arg-type]
        self._streams[call.number] = stream
        self._line.tell(Returned(call.number, None))
        stream.listen(lambda: self._pass_on(call.number, stream))

    def _pass_on(self, number: int, stream: OutputStream) -> None:
        """Called by the engine's thread."""
        try:
            while outputs := stream.take():
                self._line.tell(Outputs(number, tuple(outputs)))
        except EdgeError as error:
            self._line.tell(Outputs(number, (FailedOutput(error),)))
        if stream.ended:
            self._streams.pop(number, None)


def main() -> None:
    """Load and answer until told to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started this ends it
        signal.signal(number, signal.SIG_IGN)
    line = Line(Connection(int(sys.argv[1])))
    begin = line.next()
    assert isinstance(begin, Begin)  # noqa: S101 - nothing else comes first
    connections = Connections(begin.order.config.workers)
    on_abort(lambda words: _end(line, words, connections.broken()))
    watch = Watch(line, connections, begin.order.config.worker_timeout)
    _forward_log(line, begin.log_level)
    try:
        loaded = load_here(
            begin.order,
            lambda done: line.tell(Reading(done)),
            lambda done: line.tell(Trying(done)),
        )
    except EdgeError as error:
        line.tell(Failed(error))
        return
    except Exception as error:  # noqa: BLE001 - whatever it was, somebody waits
        line.tell(Failed(EngineStopped(f"{type(error).__name__}: {error}")))
        return
    connections.guard()  # what was made since the last look
    watch.computing = loaded.computing
    line.tell(Ready(loaded.facts))
    _answer(line, Answers(line, loaded.computing))
    loaded.computing.close()
    loaded.held.close()


def _answer(line: Line, answers: Answers) -> None:
    while True:
        match line.next():
            case Call() as call:
                answers.call(call)
            case Abort(number):
                answers.abort(number)
            case Stop():
                return


def _end(line: Line, words: str, workers: tuple[str, ...]) -> None:
    line.tell(LastWords(words, workers))
    os._exit(_LOST)


def _forward_log(line: Line, level: int) -> None:
    ours = logging.getLogger("mistral_small_edge")
    ours.addHandler(Forwarder(line))
    ours.setLevel(level)


if __name__ == "__main__":
    main()
