"""A program in a real pseudo-terminal, driven as a person would: look, type, look.

Every wait has a deadline and wakes up when something happens; a program that is still there at
the end is killed by its process id.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import termios
import time
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

CTRL_C = "\x03"
CTRL_D = "\x04"
UP = "\x1b[A"
ENTER = "\r"
ALT_ENTER = "\x1b\r"

# A new session's leader asks for its controlling terminal, without which ^C is no signal. In a
# process of its own, because code between fork and exec is not safe beside other threads.
_CLAIM_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_PATIENCE = 60.0  # seconds; only a broken program takes that long
_CURSOR_QUESTION, _CURSOR_ANSWER = b"\x1b[6n", b"\x1b[1;1R"
_ESCAPES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    rb"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC
    rb"|\x1b[ -/]*[0-~]"
)


class PtyProgram:
    """A process whose controlling terminal is ours, 24 rows of 100 columns.

    `stdout`, if given, is where its stdout goes instead; stdin and stderr stay on the terminal.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        stdout: IO[bytes] | None = None,
    ) -> None:
        self._master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 100))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CLAIM_TERMINAL, *command],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )
        os.close(slave)
        self.raw = b""
        self._looked = 0

    def expect(self, text: str) -> str:
        """Wait for `text` behind what was seen before; returns what came with it."""
        wanted = text.encode()
        deadline = time.monotonic() + _PATIENCE
        while True:
            plain = _ESCAPES.sub(b"", self.raw)
            at = plain.find(wanted, self._looked)
            if at >= 0:
                begin, self._looked = self._looked, at + len(wanted)
                return plain[begin : self._looked].decode(errors="replace")
            if not self._read(deadline):
                raise AssertionError(
                    f"no {text!r} in {plain[self._looked :].decode(errors='replace')!r}"
                )

    def send(self, keys: str | bytes) -> None:
        """Type."""
        os.write(self._master, keys if isinstance(keys, bytes) else keys.encode())

    def wait(self) -> int:
        """The exit code, once it has ended."""
        deadline = time.monotonic() + _PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(timeout=_PATIENCE)

    @property
    def rest(self) -> str:
        """What came after the last thing that was waited for."""
        return _ESCAPES.sub(b"", self.raw)[self._looked :].decode(errors="replace")

    def _read(self, deadline: float) -> bool:
        """Take in what is there, waiting for it; False at the end or the deadline."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            return False
        self.raw += chunk
        if _CURSOR_QUESTION in chunk:
            os.write(self._master, _CURSOR_ANSWER)
        return bool(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()  # nothing, if it has been waited for
        self._process.wait()
        os.close(self._master)
