"""What runs in a process of its own: `python -m mistral_small_edge.quantization.child`.

Takes one order from stdin and tells on stdout, a JSON list a line, whose turn it is and how it ended.
When nobody listens any more it removes what it has written, and is gone.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from mistral_small_edge.errors import EdgeError
from mistral_small_edge.gguf.imatrix import read_imatrix
from mistral_small_edge.llama.log import logger
from mistral_small_edge.llama.quantizer import QuantizeOptions, quantize


class Line:
    """The way back; `target` goes when it breaks."""

    def __init__(self, target: Path) -> None:
        self._target = target
        # A number of its own: what C prints to stdout goes to stderr, not between the lines.
        self._handle = os.dup(1)
        os.dup2(2, 1)

    def tell(self, *said: object) -> None:
        """Send one line."""
        try:
            os.write(self._handle, json.dumps(said).encode() + b"\n")
        except BrokenPipeError:
            self._target.unlink(missing_ok=True)
            os._exit(1)  # out of C, which knows no exceptions


class Forwarder(logging.Handler):
    """llama.cpp's log, for whoever wants to see it."""

    def __init__(self, line: Line) -> None:
        super().__init__(logging.DEBUG)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.tell("log", record.levelno, record.getMessage())


def main() -> None:
    """Quantize what stdin orders."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this ends it
    order = json.load(sys.stdin)
    target = Path(order["target"])
    line = Line(target)
    logger.addHandler(Forwarder(line))
    logger.setLevel(logging.DEBUG)
    try:
        _run(order, target, line)
    except EdgeError as error:
        line.tell("failed", getattr(error, "reason", str(error)))
    else:
        line.tell("done")


def _run(order: Any, target: Path, line: Line) -> None:
    imatrix = order["imatrix"]
    quantize(
        Path(order["source"]),
        target,
        QuantizeOptions(**order["options"]),
        read_imatrix(Path(imatrix)).values if imatrix else {},
        order["tensors"],
        lambda name: line.tell("tensor", name),
    )


if __name__ == "__main__":
    main()
