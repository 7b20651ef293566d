"""llama.cpp's own log, turned into Python's.

Every line goes to the logger `mistral_small_edge.llama`; nothing reaches a terminal unless
somebody attaches a handler. `capture_errors` keeps what llama.cpp complained about, because its
functions return NULL without a reason; with `no_complaints_if` what was asked for is no error.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llama_cpp import llama_cpp as lib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("mistral_small_edge.llama")
# Without a handler the standard library would print warnings itself.
logger.addHandler(logging.NullHandler())

# From ggml.h (the bindings' own table is of an older one). Info is chatter: debug to us. 5 continues
# a line.
_LEVELS = {3: logging.WARNING, 4: logging.ERROR}

_here = threading.local()


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _receive(level: int, text: bytes, _user: object) -> None:
    line = text.decode("utf-8", "replace").rstrip("\n")
    if line.strip(". "):
        is_wanted = getattr(_here, "is_wanted", None)
        failed = is_wanted is None or not is_wanted()
        logger.log(_LEVELS.get(level, logging.DEBUG) if failed else logging.DEBUG, "%s", line)


def redirect() -> None:
    """Send llama.cpp's log here instead of to stderr. Idempotent."""
    lib.llama_log_set(_receive, None)


def redirect_vision() -> None:
    """The same for the part of llama.cpp that sees, which speaks past its log. Idempotent."""
    from llama_cpp import mtmd_cpp as mtmd

    mtmd.mtmd_log_set(_receive, None)
    mtmd.mtmd_helper_log_set(_receive, None)


@contextmanager
def no_complaints_if(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Meanwhile take what this thread hears for mere news if it is wanted that llama.cpp fails."""
    _here.is_wanted = is_wanted
    try:
        yield
    finally:
        _here.is_wanted = None


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def capture_errors() -> Iterator[list[str]]:
    """Collect the error lines logged meanwhile."""
    collector = _Collector()
    logger.addHandler(collector)
    try:
        yield collector.lines
    finally:
        logger.removeHandler(collector)
