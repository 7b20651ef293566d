"""A folder of files that may be lost at any time: each whole or not there, together bounded.

What is worth keeping across processes goes here under a name of the caller's. A file is believed only
if its checksum agrees; what is torn or tampered with is removed. What was not used for longest goes
first. Other processes may use the same folder. What the bytes mean is not known here.
"""

from __future__ import annotations

import hashlib
import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MAGIC = b"MSECACH1"
_HEAD = struct.Struct("<8s32s")  # magic, sha256 of all that follows


class FileCache:
    """Files of one kind in `folder`, which is made when the first one comes.

    Args:
        suffix: of their names, by which they are told from whatever else is there.
        max_bytes: of all of them; the newest one stays, however large.
    """

    def __init__(self, folder: Path, suffix: str, max_bytes: int) -> None:
        self._folder = folder
        self._suffix = suffix
        self._max_bytes = max_bytes

    def path(self, name: str) -> Path:
        """Where the content called `name` is, if it is."""
        return self._folder / (name + self._suffix)

    def paths(self) -> list[Path]:
        """Every file that is there, in the order of the names."""
        return sorted(self._folder.glob("*" + self._suffix))

    def peek(self, path: Path, size: int) -> bytes:
        """The first `size` bytes of a content, unchecked; fewer or none if they are not there."""
        try:
            with path.open("rb") as file:
                magic, _ = _HEAD.unpack(file.read(_HEAD.size))
                return file.read(size) if magic == _MAGIC else b""
        except (OSError, struct.error):
            return b""

    def read(self, path: Path) -> memoryview | None:
        """A content, in writable memory of its own; None, and no file any more, if it is not whole."""
        content = _content(path)
        with suppress(OSError):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                os.utime(path)  # used now
        return content

    def write(self, name: str, parts: Sequence[bytes | memoryview]) -> Path:
        """Keep a content, in the place of one of that name.

        Raises:
            OSError: the disk does not take it; nothing is left of it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path(name)
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            partial.touch(mode=0o600)  # conversations may be in there
            with partial.open("wb") as file:
                file.write(_HEAD.pack(_MAGIC, _checksum(parts)))
                for part in parts:
                    file.write(part)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self._shrink(path)
        return path

    def _shrink(self, newest: Path) -> None:
        # With those that somebody was killed at: nobody else would ever remove them.
        files = [(path.stat(), path) for path in self._folder.glob(f"*{self._suffix}*")]
        files.sort(key=lambda file: file[0].st_mtime_ns)
        size = sum(status.st_size for status, _ in files)
        for status, path in files:
            if size <= self._max_bytes:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                size -= status.st_size


def _content(path: Path) -> memoryview | None:
    try:
        with path.open("rb") as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            read = memoryview(data)[: file.readinto(data)]
    except OSError:
        return None
    if len(read) < _HEAD.size:
        return None
    magic, checksum = _HEAD.unpack_from(read)
    content = read[_HEAD.size :]
    return content if magic == _MAGIC and _checksum([content]) == checksum else None


def _checksum(parts: Sequence[bytes | memoryview]) -> bytes:
    checksum = hashlib.sha256()
    for part in parts:
        checksum.update(part)
    return checksum.digest()
