"""`mistral-small-edge worker` as a process, on a port of its own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mistral_small_edge.workers import WorkerAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = (sys.executable, "-m", "mistral_small_edge", "worker", "--threads", "1")


def next_line(process: subprocess.Popen[str], about: str) -> str:
    """The next line on its stderr that is `about` something."""
    assert process.stderr is not None
    for line in process.stderr:
        if about in line:
            return line
    raise AssertionError(f"it has ended, and nothing was said about {about!r}")


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], WorkerAddress]]:
    """One that listens, and where."""
    command = [*WORKER, "--port", "0", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = next_line(process, "lends")
            yield process, WorkerAddress.parse(line.split()[0])
        finally:
            process.kill()
