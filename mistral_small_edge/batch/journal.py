"""Results on disk: appended as they come, and put in the requests' order when all of them are there.

While a batch runs there is a file beside the one that was asked for. Whatever happens to the process, every
whole line in it counts; one that was cut off is dropped, and its request is done again. The file that was
asked for is written aside and renamed, so it is whole or not there. One process at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, Self

from mistral_small_edge.batch.results import ANSWERED
from mistral_small_edge.errors import InvalidRequest, ResultsNotKept

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from io import FileIO
    from pathlib import Path

    from mistral_small_edge.batch.results import Result

PARAM = "--output"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A result, and where its line begins."""

    id: str
    failed: bool
    path: Path
    start: int


class Journal:
    """The results at `path` and those on their way there; close it, or use `with`.

    Raises:
        InvalidRequest: the place does not take files, what is there are no results, or another
            process is at work on them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.parent / f"{path.name}.partial"
        for place in (self.path, self.partial):
            with _told(place):
                if place.exists() and not place.is_file():  # a device must not be renamed over
                    raise InvalidRequest(f"{place} is no ordinary file; - is stdout", PARAM)
        self._file = _locked(self.partial)
        try:
            self._kept = self._found()
        except BaseException:
            self.close()
            raise

    def check(self, ids: Mapping[str, str], name: str, *, retry_failed: bool = False) -> None:
        """Hold the results against the requests, of which `ids` has the id by the custom_id.

        Args:
            name: the requests' file, as errors call it.
            retry_failed: forget those that failed; their requests may have been mended.

        Raises:
            InvalidRequest: there is the result of another request.
        """
        for custom_id, kept in list(self._kept.items()):
            if custom_id not in ids:
                raise _foreign(kept, f"{custom_id!r}, which is not in {name}")
            if kept.failed and retry_failed:
                del self._kept[custom_id]
            elif kept.id != ids[custom_id]:
                raise _foreign(kept, f"{custom_id!r}, which is another request in {name}")

    def __contains__(self, custom_id: str) -> bool:
        """Whether a request has its result."""
        return custom_id in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_failed(self) -> int:
        """Results that are errors."""
        return sum(kept.failed for kept in self._kept.values())

    def add(self, result: Result) -> None:
        """Append a result; from here on it outlives the process.

        Raises:
            ResultsNotKept: the disk does not take it.
        """
        start = self._file.seek(0, os.SEEK_END)
        line = result.line
        try:
            while line:  # a disk that fills up takes a part of it, and fails then
                line = line[self._file.write(line) :]
        except OSError as error:
            raise ResultsNotKept(self.partial, str(error.strerror)) from None
        self._kept[result.custom_id] = _Kept(result.id, result.failed, self.partial, start)

    def finish(self, order: Iterable[str]) -> None:
        """Put the results of these custom_ids at `path`, in this order, and close; all are there.

        Raises:
            ResultsNotKept: the disk does not take them; nothing is lost.
        """
        aside = self.path.parent / f"{self.path.name}.ordered"
        try:
            with aside.open("wb") as file:
                file.writelines(self._lines(order))
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
            self.partial.unlink()
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise ResultsNotKept(self.path, str(error.strerror)) from None
        self._file.close()

    def close(self) -> None:
        """Let others at it, and leave no file with nothing in it. Idempotent."""
        if not self._file.closed:
            if not os.fstat(self._file.fileno()).st_size:
                self.partial.unlink()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _found(self) -> dict[str, _Kept]:
        """What earlier runs have left, the later result of two."""
        with _told(self.path):
            before = dict(_results(self.path)) if self.path.exists() else {}
            _cut_torn_line(self.partial, self._file)
            return before | dict(_results(self.partial))

    def _lines(self, order: Iterable[str]) -> Iterator[bytes]:
        with ExitStack() as held:
            paths = {kept.path for kept in self._kept.values()}
            files = {path: held.enter_context(path.open("rb")) for path in paths}
            for custom_id in order:
                kept = self._kept[custom_id]
                files[kept.path].seek(kept.start)
                yield files[kept.path].readline().rstrip(b"\n") + b"\n"


def _locked(path: Path) -> FileIO:
    """The file, for appending, and nobody else's until it is closed."""
    with ExitStack() as held, _told(path):
        file = held.enter_context(path.open("ab", buffering=0))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):  # or it is just being finished
            ours = False
        if not ours:
            raise InvalidRequest(f"another run is at work on {path}", PARAM)
        held.pop_all()
        return file


def _cut_torn_line(path: Path, file: FileIO) -> None:
    """Take away what is behind the last line's end."""
    if os.fstat(file.fileno()).st_size:
        with path.open("rb") as read, mmap(read.fileno(), 0, access=ACCESS_READ) as text:
            whole = text.rfind(b"\n") + 1
        file.truncate(whole)


def _results(path: Path) -> Iterator[tuple[str, _Kept]]:
    """Results by their custom_ids.

    Raises:
        InvalidRequest: a line that is none.
    """
    with path.open("rb") as file:
        start = 0
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
                failed = found["response"]["status_code"] != ANSWERED
                yield str(found["custom_id"]), _Kept(str(found["id"]), failed, path, start)
            except (ValueError, LookupError, TypeError, RecursionError):
                raise InvalidRequest(
                    f"{path}, line {number}, is no result of a batch: name another file", PARAM
                ) from None
            start += len(line)


def _foreign(kept: _Kept, whose: str) -> InvalidRequest:
    return InvalidRequest(f"{kept.path} has a result of {whose}: name another file", PARAM)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system does not do is told as the option's fault."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}", PARAM) from None
