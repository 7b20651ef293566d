"""The other process, seen from this one: started, spoken with, ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from mistral_small_edge.errors import EngineStopped
from mistral_small_edge.llm.apart.messages import (
    Begin,
    Failed,
    FromChild,
    LastWords,
    Logged,
    Reading,
    Ready,
    ToChild,
    Trying,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.llm.loading import Facts, Order

logger = logging.getLogger("mistral_small_edge.llm.apart")

# -P: a file in the working directory that is called like a library is none.
_COMMAND = (sys.executable, "-P", "-m", "mistral_small_edge.llm.apart.child")
_LAST_WORDS = 4096  # bytes
_OUTSIDE = "mistral_small_edge"


class EngineProcess:
    """A process that holds an engine, or is to. One thread listens, any may tell."""

    def __init__(self) -> None:
        self.last_words: LastWords | None = None
        self._speaking = threading.Lock()
        self._words: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed by `end`
        here, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                (*_COMMAND, str(there.fileno())),
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # or ggml calls a debugger
            )
        self._connection = Connection(here.detach())

    @property
    def pid(self) -> int:
        """The system's number for it."""
        return self._process.pid

    def load(
        self,
        order: Order,
        on_progress: Callable[[float], None] | None,
        on_trial: Callable[[float], None] | None,
    ) -> Facts | None:
        """Have it load; None if it has ended meanwhile.

        Raises:
            EdgeError: what loading has failed with.
            What the callbacks raise.
        """
        self.tell(Begin(order, logging.getLogger(_OUTSIDE + ".llama").getEffectiveLevel()))
        while True:
            match self.listen():
                case Reading(done) if on_progress is not None:
                    on_progress(done)
                case Trying(done) if on_trial is not None:
                    on_trial(done)
                case Ready(facts):
                    return facts
                case Failed(error):
                    raise error
                case None:
                    return None

    def tell(self, message: ToChild) -> None:
        """Send one; one that has ended is told nothing."""
        with self._speaking:
            try:
                self._connection.send(message)
            except OSError:  # the listener notices
                return

    def listen(self) -> FromChild | None:
        """What it says next that is not for the log or its last; None once it has ended."""
        try:
            while True:
                message: FromChild = self._connection.recv()
                if isinstance(message, Logged):
                    logging.getLogger(message.name).log(message.level, "%s", message.text)
                elif isinstance(message, LastWords):
                    self.last_words = message
                else:
                    return message
        except (EOFError, OSError):
            return None

    def end(self, seconds: float = 0.0) -> EngineStopped:
        """Wait for its end, kill it after `seconds`, and say what it died of. Once."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        said = self._said()
        self._words.close()
        with self._speaking:
            self._connection.close()
        if code == -signal.SIGKILL:
            return EngineStopped("its process was killed, perhaps for want of memory")
        return EngineStopped(f"its process died (code {code}){said}")

    def kill(self) -> None:
        """End it now; `end` is still to be called."""
        self._process.kill()

    def _said(self) -> str:
        if self.last_words is not None:
            return f": {self.last_words.words}"
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _LAST_WORDS))
        lines = self._words.read().decode("utf-8", "replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
