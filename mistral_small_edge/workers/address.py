"""Where workers are: `host:port`, on the command line or a line each in a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DEFAULT_PORT = 50052  # what ggml's own RPC server takes
MOST_WORKERS = 16  # ggml keeps no more devices

_PARAM = "workers"
_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65_535
_COMMENT = "#"


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """`host` is a name or an IPv4 address: ggml's RPC knows no others."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> Self:
        """`host` or `host:port`.

        Raises:
            InvalidRequest: it is neither.
        """
        host, colon, port = text.strip().partition(":")
        if not host or not host.isprintable() or " " in host or "/" in text:
            raise InvalidRequest(f"{text!r} is no worker's address, as 10.0.0.2:50052", _PARAM)
        if ":" in port or host.startswith("["):
            raise InvalidRequest(f"{text!r} is IPv6; workers are reached by IPv4", _PARAM)
        if not colon:
            return cls(host)
        if not _PORT.fullmatch(port) or not 0 < int(port) <= _LAST_PORT:
            raise InvalidRequest(f"{text!r} ends with no port from 1 to {_LAST_PORT}", _PARAM)
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_workers(texts: Iterable[str]) -> tuple[WorkerAddress, ...]:
    """All of them, in their order: the model's first layers go to the first one.

    Raises:
        InvalidRequest: one is no address, one is named twice, or they are more than ggml keeps.
    """
    found = tuple(map(WorkerAddress.parse, texts))
    for at, address in enumerate(found):
        if address in found[:at]:
            raise InvalidRequest(f"{address} is named twice", _PARAM)
    if len(found) > MOST_WORKERS:
        raise InvalidRequest(f"{len(found)} workers are named; at most {MOST_WORKERS} are", _PARAM)
    return found


def read_workers(path: Path) -> tuple[str, ...]:
    """The addresses in a file, one a line; what stands behind `#` is for people.

    Raises:
        InvalidRequest: it cannot be read, or names none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidRequest(f"{path} cannot be read: {reason}", _PARAM) from None
    named = (line.partition(_COMMENT)[0].strip() for line in lines)
    found = tuple(name for name in named if name)
    if not found:
        raise InvalidRequest(f"{path} names no worker", _PARAM)
    return found
