"""The folder of saved conversations: what there is, the latest first, and what is said in it.

Whoever only looks needs no lock and leaves pictures alone; whoever goes on with a session has it to
himself, as a Journal.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from mistral_small_edge.errors import (
    InvalidRequest,
    SessionDamaged,
    SessionNotFound,
    SessionUnreachable,
)
from mistral_small_edge.sessions.aside import reserve, sync_folder
from mistral_small_edge.sessions.journal import Journal, Reading, read
from mistral_small_edge.sessions.names import automatic_names, checked_name, is_fit
from mistral_small_edge.sessions.pictures import Pictures

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.sessions.session import Session

_SUFFIX = ".jsonl"
_LATEST = 5  # that are named where one is not found


class Shelf:
    """Sessions and their pictures in `folder`, which is made when the first one comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sessions"
        self._pictures = Pictures(folder / "pictures")

    def names(self) -> list[str]:
        """Every session, the latest used first."""
        found = []
        for path in self.folder.glob("*" + _SUFFIX):
            with suppress(OSError):  # somebody else removed it
                found.append((-path.stat().st_mtime_ns, path.stem))
        return [name for _, name in sorted(found) if is_fit(name)]

    def last(self) -> str:
        """The latest used one.

        Raises:
            SessionNotFound: there is none.
        """
        if names := self.names():
            return names[0]
        raise SessionNotFound("")

    def look(self, name: str, *, pictures: bool = False) -> Reading:
        """What a session's file says now, whoever has it open.

        Args:
            pictures: open those, too; otherwise questions are without them.

        Raises:
            InvalidRequest, SessionNotFound, SessionDamaged, SessionUnreachable: as they say.
        """
        path = self._path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise self._missing(name) from None
        except OSError as error:
            raise SessionUnreachable(path, error.strerror or str(error)) from error
        return read(data, path, self._pictures.open if pictures else None)

    def open(self, name: str) -> Journal:
        """A session, to be gone on with.

        Raises:
            InvalidRequest, SessionNotFound, SessionInUse, SessionDamaged, SessionUnreachable: as they
                say.
        """
        path = self._path(name)
        try:
            return Journal(path, self._pictures)
        except SessionNotFound:
            raise self._missing(name) from None
        except OSError as error:
            raise SessionUnreachable(path, error.strerror or str(error)) from error

    def create(self, name: str) -> Journal:
        """A new session.

        Raises:
            InvalidRequest: it cannot be called so, or another one is.
            SessionUnreachable: the disk does not take it.
        """
        path = self._path(name)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Journal(path, self._pictures, new=True)
        except FileExistsError:
            raise _taken(name) from None
        except OSError as error:
            raise SessionUnreachable(path, error.strerror or str(error)) from error

    def create_for(self, session: Session) -> Journal:
        """A new session, called by the day and by what it begins with.

        Raises:
            SessionUnreachable: the disk does not take it.
        """
        there = set(self.names())
        for name in automatic_names(datetime.now().astimezone().date(), session.title):
            if name not in there:
                with suppress(InvalidRequest):  # somebody else was faster
                    return self.create(name)
        raise AssertionError("numbers do not end")

    def rename(self, journal: Journal, name: str) -> None:
        """Call a session otherwise; it stays open.

        Raises:
            InvalidRequest: it cannot be called so, or another one is.
            SessionUnreachable: the disk does not take it.
        """
        path = self._path(name)
        if path == journal.path:
            return
        try:
            reserve(path)
            journal.path.replace(path)
            journal.path = path
            sync_folder(self.folder)
        except FileExistsError:
            raise _taken(name) from None
        except OSError as error:
            raise SessionUnreachable(path, error.strerror or str(error)) from error

    def check(self, name: str) -> None:
        """Do nothing, if there is such a session.

        Raises:
            InvalidRequest, SessionNotFound: as they say.
        """
        if not self._path(name).exists():
            raise self._missing(name)

    def remove(self, name: str) -> None:
        """Delete a session, sound or not, and the pictures that no other one shows.

        Where another one cannot be read, pictures stay: they may be that one's.

        Raises:
            InvalidRequest, SessionNotFound, SessionInUse: as they say.
            SessionUnreachable: it does not let itself be deleted.
        """
        path = self._path(name)
        try:
            Journal.delete(path)
            with self._pictures.alone(), suppress(SessionDamaged):
                self._pictures.remove_all_but(self._shown())
        except SessionNotFound:
            raise self._missing(name) from None
        except OSError as error:
            raise SessionUnreachable(path, error.strerror or str(error)) from error

    def _shown(self) -> set[str]:
        """Of every file that is there, whatever it is called: somebody may have set it aside."""
        readings = (read(path.read_bytes(), path, None) for path in self.folder.glob("*" + _SUFFIX))
        return {digest for reading in readings for digest in reading.shown}

    def _path(self, name: str) -> Path:
        return self.folder / (checked_name(name) + _SUFFIX)

    def _missing(self, name: str) -> SessionNotFound:
        return SessionNotFound(name, self.names()[:_LATEST])


def _taken(name: str) -> InvalidRequest:
    return InvalidRequest(f"there is a session {name!r} already", "session")
