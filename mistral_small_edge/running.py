"""Which servers of this user run on this machine: a note for each of them, in a folder of the user's.

A server writes its note when its model is there, and removes it when it ends. One whose process is gone is
removed by whoever reads it: by now somebody else may listen at that address. Speaks with no server.
"""

from __future__ import annotations

import json
import os
import platform
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Between two readings of when a process began, which on Linux is counted from when the machine did.
_CLOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server, as it says of itself.

    Attributes:
        url: where it is found from this machine.
        model: its model's file, without links on the way to it.
        has_key: whether it asks for an API key.
        machine: the name of the machine it runs on; homes may be shared by many.
        process, begun: its process, and when that began (seconds since 1970).
    """

    url: str
    model: str
    has_key: bool
    machine: str
    process: int
    begun: float

    @classmethod
    def this_process(cls, url: str, model: Path, *, has_key: bool) -> Self:
        """The server that this process is."""
        itself = psutil.Process()
        return cls(
            url, str(model.resolve()), has_key, platform.node(), itself.pid, itself.create_time()
        )

    @property
    def lives(self) -> bool:
        """Whether its process is still the same one."""
        try:
            process = psutil.Process(self.process)
            same = abs(process.create_time() - self.begun) < _CLOCK_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@contextmanager
def announced(server: RunningServer, folder: Path) -> Iterator[None]:
    """Have others find the server while the context lasts.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    note = folder / f"{server.process}.json"
    aside = note.with_suffix(".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(server), file)
    aside.replace(note)
    try:
        yield
    finally:
        with suppress(OSError):  # nobody is misled: its process ends, too
            note.unlink(missing_ok=True)


def running_servers(folder: Path) -> list[RunningServer]:
    """The servers that run here, the latest first; notes of those that do not are removed."""
    found = []
    for note in folder.glob("*.json"):
        with suppress(OSError):
            server = _read(note)
            if server is not None and server.machine != platform.node():
                continue
            if server is not None and server.lives:
                found.append(server)
            else:
                note.unlink(missing_ok=True)
    return sorted(found, key=lambda server: server.begun, reverse=True)


def _read(note: Path) -> RunningServer | None:
    """None if it is no note of this version."""
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        return RunningServer(
            str(told["url"]),
            str(told["model"]),
            bool(told["has_key"]),
            str(told["machine"]),
            int(told["process"]),
            float(told["begun"]),
        )
    except (ValueError, LookupError, TypeError):
        return None
