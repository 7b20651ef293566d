"""stdin when it is not typed: all of it, or line by line, and never more than makes sense.

What cannot fit any context is refused before it fills the memory.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import sys
from typing import TYPE_CHECKING, BinaryIO

from mistral_small_edge.cli import console
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.images.limits import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHARACTERS = 1 << 24  # 131,072 tokens are a sixteenth of it, at eight letters a token
_PATIENCE = 2.0  # seconds of silence on a pipe until we say what we wait for


def piped() -> bool:
    """Whether stdin is there and nobody types it."""
    return sys.stdin is not None and not sys.stdin.isatty()


def read_bytes() -> bytes:
    """All of stdin, to its end; of what is too large for a picture a byte more than it may have.

    Raises:
        InvalidRequest: stdin is closed.
    """
    if sys.stdin is None:
        raise InvalidRequest("stdin is closed", "stdin")
    _say_if_silent()
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def read_text() -> str:
    """All of stdin, to its end.

    Raises:
        InvalidRequest: it is not UTF-8, or too long.
    """
    _say_if_silent()
    data = sys.stdin.buffer.read(MAX_CHARACTERS + 1)
    _refuse_too_long(len(data), "stdin")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"stdin is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}", "stdin"
        ) from None


def copy_to(file: BinaryIO) -> None:
    """All of stdin, to its end, however much it is.

    Raises:
        InvalidRequest: stdin is closed.
    """
    if sys.stdin is None:
        raise InvalidRequest("stdin is closed", "stdin")
    _say_if_silent()
    shutil.copyfileobj(sys.stdin.buffer, file)


def lines() -> Iterator[str]:
    """Lines of stdin; what is not UTF-8 in them is replaced. None if stdin is closed.

    Raises:
        InvalidRequest: a line is too long.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    while sys.stdin is not None and (line := sys.stdin.readline(MAX_CHARACTERS + 1)):
        _refuse_too_long(len(line), "a line of stdin")
        yield line


def _say_if_silent() -> None:
    if os.name == "posix" and not select.select([sys.stdin], [], [], _PATIENCE)[0]:
        console.note("waiting for the end of stdin (pass < /dev/null if there is none)")


def _refuse_too_long(length: int, what: str) -> None:
    if length > MAX_CHARACTERS:
        raise InvalidRequest(
            f"{what} is longer than {MAX_CHARACTERS} characters, which no context holds", "stdin"
        )
