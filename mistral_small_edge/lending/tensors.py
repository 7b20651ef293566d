"""Tensors that clients sent, on disk under their hashes, so that they need not be sent again.

ggml writes and reads them itself: it neither looks whether the disk took all of a file nor whether a
file is what its name says. So between two servers, and whenever no client is there, every file that is
new is held against its name, and what is torn is removed. What was found sound is remembered by size and
time, once the disk has it. While a client is there nothing is: but the folder is closed to ggml before
the disk is full, and stays so until all that came in is checked.

ggml is not given the folder but a link in it. Without the link there is nothing to read for it, and
nowhere to write.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.file_cache import RESERVE_BYTES
from mistral_small_edge.lending.fnv import Fnv

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from mistral_small_edge.file_cache import Disk

_PARAM = "--cache-dir"
_NAME = re.compile(r"[0-9a-f]{16}")
_DOOR, _LOCK, _SOUND = "open", "lock", "sound.json"
_PIECE = 1 << 22  # bytes hashed between two looks at what else there is to do

Mark = tuple[int, int]  # a file's size and when it was written, ns since the epoch


@dataclass(frozen=True, slots=True)
class Tensor:
    """A file as it lies there; `used` is when it was written or, as far as the disk tells, last read."""

    path: Path
    mark: Mark
    used: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.mark[0]


class Tensors:
    """The folder, locked: no other worker writes there meanwhile.

    Args:
        max_bytes: of all files; what was not used for longest goes first.
        disk: tells how full a folder's disk is.

    Raises:
        InvalidRequest: it cannot be written, or another worker has it.
    """

    def __init__(
        self, folder: Path, max_bytes: int, *, disk: Callable[[Path], Disk] = shutil.disk_usage
    ) -> None:
        self._folder = folder.absolute()
        self._max_bytes = max_bytes
        self._disk = disk
        self.door = self._folder / _DOOR
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lock = _locked(folder / _LOCK)
            self.door.unlink(missing_ok=True)
        except BlockingIOError:
            raise InvalidRequest(
                f"{folder} is another worker's; give this one its own with {_PARAM}", _PARAM
            ) from None
        except OSError as error:
            raise InvalidRequest(
                f"tensors cannot be kept in {folder}: {error.strerror}", _PARAM
            ) from None
        self._sound = _read_marks(folder / _SOUND)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; the lock is held on by whoever was given its descriptor, too."""
        self.close_door()
        os.close(self.lock)

    @property
    def is_open(self) -> bool:
        """Whether ggml reads and writes there."""
        return self.door.is_symlink()

    def open_door(self) -> bool:
        """Let ggml read and write, if all is sound and there is room; whether it may."""
        if not self.make_room() or self.unchecked():
            self.close_door()
        elif not self.is_open:
            with suppress(OSError):  # the disk takes no link either
                self.door.symlink_to(".")
        return self.is_open

    def close_door(self) -> None:
        """Keep ggml from reading and writing."""
        with suppress(OSError):  # nothing can be written there then
            self.door.unlink(missing_ok=True)

    def unchecked(self) -> int:
        """Bytes of files that are not known to be sound."""
        return sum(one.size for one in self._files() if not self._is_sound(one))

    def check(self) -> Generator[None]:
        """Hold what is new against its name, and remove what is torn; yields every few milliseconds.

        For when nothing is being written. May be left at any time.
        """
        there = self._files()
        names = {one.path.name for one in there}
        self._sound = {name: mark for name, mark in self._sound.items() if name in names}
        for one in there:
            if self._is_sound(one):
                continue
            with suppress(OSError):  # somebody else removed it, or nobody can
                if (yield from _hashed(one.path)) == one.path.name:
                    self._sound[one.path.name] = one.mark
                    _write_marks(self._folder / _SOUND, self._sound)
                else:
                    one.path.unlink()

    def make_room(self, unused_since: int | None = None) -> bool:
        """Remove what was not used for longest until all is within its bounds; whether it is then.

        Args:
            unused_since: ns since the epoch; what was used later stays.
        """
        files = sorted(self._files(), key=lambda one: one.used)
        try:
            disk = self._disk(self._folder)
        except OSError:  # the folder is gone
            return False
        reserve = min(RESERVE_BYTES, disk.total // 10)
        excess = max(sum(one.size for one in files) - self._max_bytes, reserve - disk.free)
        for one in files:
            if excess <= 0 or (unused_since is not None and one.used >= unused_since):
                break
            with suppress(OSError):
                one.path.unlink()
                excess -= one.size
        return excess <= 0

    def _is_sound(self, one: Tensor) -> bool:
        return self._sound.get(one.path.name) == one.mark

    def _files(self) -> list[Tensor]:
        return list(kept_in(self._folder))


def kept_in(folder: Path) -> Iterator[Tensor]:
    """What lies in a folder of tensors; nothing if it is none."""
    with suppress(OSError):
        for path in folder.iterdir():
            if not _NAME.fullmatch(path.name):
                continue
            with suppress(FileNotFoundError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    used = max(status.st_atime_ns, status.st_mtime_ns)
                    yield Tensor(path, (status.st_size, status.st_mtime_ns), used)


def _hashed(path: Path) -> Generator[None, None, str]:
    """What a file would be called by what is in it and on its disk; nothing if it cannot be read."""
    fnv = Fnv()
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            while piece := file.read(_PIECE):
                fnv.update(piece)
                yield
    except FileNotFoundError:
        raise
    except OSError:  # the disk is worn: nothing in it is to be believed
        return ""
    return fnv.name


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _read_marks(path: Path) -> dict[str, Mark]:
    """What was found sound; nothing if that is not to be read."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): (int(size), int(time)) for name, (size, time) in said.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _write_marks(path: Path, marks: dict[str, Mark]) -> None:
    """Lost, it costs a check; so it need not be on the disk at once, but whole."""
    partial = path.with_suffix(".part")
    with suppress(OSError):
        partial.write_text(json.dumps(marks), encoding="utf-8")
        partial.replace(path)
