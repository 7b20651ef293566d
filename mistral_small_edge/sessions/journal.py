"""One session's file: read from its beginning, gone on with at its end.

Events are only ever appended, whole lines at a time, and a line counts once its end is there. So a
process may die at any moment: what it was writing is a line without an end, which readers pass over
and the next to append takes away. What lies before is never written again. Each append is on the
disk before it counts as done, because a small machine's end is more often a power cut than a signal;
beside an answer's seconds that costs nothing.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mistral_small_edge.errors import (
    SessionDamaged,
    SessionInUse,
    SessionNotFound,
    SessionUnreachable,
)
from mistral_small_edge.sessions.aside import sync_folder
from mistral_small_edge.sessions.events import VERSION, Begun, Line, decoded, encoded
from mistral_small_edge.sessions.session import Answered, Asked, Session, applied, changes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mistral_small_edge.images import Image
    from mistral_small_edge.sessions.pictures import Pictures
    from mistral_small_edge.sessions.session import Event


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says.

    `begun` and `ended` are when its first and its last whole line were written; None if there is none.
    `size` is the bytes of whole lines, `shown` the digests of all pictures that were ever in it,
    `was_answered` whether a question ever was.
    """

    session: Session
    begun: datetime | None = None
    ended: datetime | None = None
    size: int = 0
    shown: frozenset[str] = frozenset()
    was_answered: bool = False


def read(data: bytes, path: Path, show: Callable[[str], Image] | None) -> Reading:
    """What the bytes of a session's file say; a last line without an end is as if it were not there.

    Args:
        path: where they are from, for errors.
        show: the picture of a digest; None leaves pictures out.

    Raises:
        SessionDamaged: a line is not what this program wrote, or a picture is not there.
    """
    size = data.rfind(b"\n") + 1
    session, times = Session(), []
    shown: set[str] = set()
    was_answered = False
    for number, text in enumerate(data[:size].split(b"\n")[:-1], 1):
        try:
            line = decoded(text)
            session = _after(session, line.event, number, show)
        except ValueError as error:
            raise SessionDamaged(path, number, str(error)) from None
        times.append(line.time)
        if isinstance(line.event, Asked):
            shown.update(line.event.pictures)
        was_answered = was_answered or isinstance(line.event, Answered)
    begun, ended = (times[0], times[-1]) if times else (None, None)
    return Reading(session, begun, ended, size, frozenset(shown), was_answered)


def _after(
    session: Session, event: Event | Begun, number: int, show: Callable[[str], Image] | None
) -> Session:
    if isinstance(event, Begun) != (number == 1):
        raise ValueError("the first line, and no other, says what version the file is of")
    if not isinstance(event, Begun):
        return applied(session, event, show)
    if event.version != VERSION:
        raise ValueError(f"it is of version {event.version}, and this program reads {VERSION}")
    return session


class Journal:
    """A session's file, held open and locked: no other process goes on with it meanwhile.

    Make it with `Shelf.open` or `Shelf.create`; close it when done.
    """

    def __init__(self, path: Path, pictures: Pictures, *, new: bool = False) -> None:
        """Open the file, or make a new one.

        Raises:
            FileExistsError: it is there, and was to be new.
            SessionNotFound, SessionInUse, SessionDamaged: as they say.
            OSError: it cannot be opened or read.
        """
        self.path = path
        self._pictures = pictures
        with ExitStack() as undo:
            self._file = _open(path, new=new)
            undo.callback(os.close, self._file)
            if new:
                sync_folder(path.parent)
            reading = read(path.read_bytes(), path, pictures.open)
            undo.pop_all()
        self._session = reading.session
        self._size = reading.size
        self._was_answered = reading.was_answered

    @staticmethod
    def delete(path: Path) -> None:
        """Delete a session's file, whatever is in it, unless somebody has it open.

        Raises:
            SessionNotFound, SessionInUse: as they say.
            OSError: it does not let itself be deleted.
        """
        file = _open(path, new=False)
        try:
            path.unlink()
        finally:
            os.close(file)

    @property
    def name(self) -> str:
        """What the session is called."""
        return self.path.stem

    @property
    def session(self) -> Session:
        """As the file has it."""
        return self._session

    def keep(self, session: Session) -> None:
        """Write down what has changed since.

        Raises:
            SessionUnreachable: the disk does not take it. The file is as before, and the next time
                tries all of it again.
        """
        events = list(changes(self._session, session))
        if not events:
            return
        begin: list[Event | Begun] = [] if self._size else [Begun()]
        now = datetime.now(UTC).replace(microsecond=0)
        data = b"".join(encoded(Line(event, now)) for event in [*begin, *events])
        try:
            with self._showing(session, events):
                self._append(data)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise SessionUnreachable(self.path, error.strerror or str(error)) from error
        self._session = session
        self._size += len(data)
        self._was_answered |= any(isinstance(event, Answered) for event in events)

    def close(self) -> None:
        """Let others have it. Of a session in which nothing was said no file stays. Idempotent."""
        if self._file < 0:
            return
        with suppress(OSError):
            if not self._was_answered and self._session.unanswered is None:
                self.path.unlink()
        os.close(self._file)
        self._file = -1

    def _append(self, data: bytes) -> None:
        os.ftruncate(self._file, self._size)  # a line that somebody was killed at
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        os.fsync(self._file)

    @contextmanager
    def _showing(self, session: Session, events: Sequence[Event]) -> Iterator[None]:
        """While the events are written: their pictures are on disk, and none is taken away."""
        shown = {
            digest for event in events if isinstance(event, Asked) for digest in event.pictures
        }
        if not shown:
            yield
            return
        with self._pictures.held():
            for image in _images(session):
                if image.digest in shown:
                    self._pictures.keep(image)
            yield


def _images(session: Session) -> Iterator[Image]:
    for exchange in session.conversation.exchanges:
        yield from exchange.question.images
    if session.unanswered is not None:
        yield from session.unanswered.images


def _open(path: Path, *, new: bool) -> int:
    """A descriptor of the file, locked."""
    making = os.O_CREAT | os.O_EXCL if new else 0
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | making, 0o600)
    except FileNotFoundError:
        raise SessionNotFound(path.stem) from None
    with ExitStack() as undo:
        undo.callback(os.close, file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SessionInUse(path.stem) from None
        if os.fstat(file).st_nlink == 0:  # removed before the lock was ours
            raise SessionNotFound(path.stem)
        undo.pop_all()
    return file
