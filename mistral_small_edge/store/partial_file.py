"""A file that grows from front to back and knows the sha256 of what it holds.

What is written is hashed at once, so a file fetched in one go is never read again; what an earlier
run left is read once. Where the bytes come from is not known here.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BLOCK = 1 << 20  # bytes read at a time


class PartialFile:
    """Opens `path`, created if need be; mutable, one owner at a time (hold its lock).

    Call `catch_up` first. From then on the digest is that of the file's `size` bytes, always.

    Attributes:
        size: bytes in the file.
        appended: bytes written by this object, those thrown away again included.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._digest = hashlib.sha256()
        self.size = os.fstat(self._fd).st_size
        self.appended = 0

    @property
    def sha256(self) -> str:
        """Of everything in it."""
        return self._digest.hexdigest()

    def catch_up(self, progress: Callable[[int], None]) -> None:
        """Hash what an earlier run left; `progress` is told how many bytes have been read."""
        self._digest, done = hashlib.sha256(), 0
        while block := os.pread(self._fd, _BLOCK, done):
            self._digest.update(block)
            done += len(block)
            progress(done)
        self.size = done

    def append(self, chunk: bytes) -> None:
        """Write at the end; on an OSError, what fitted is kept and counted.

        Written at a stated offset, not at "the end": should a file system ignore the lock, two
        runs write the same bytes to the same place.
        """
        view = memoryview(chunk)
        while view:
            written = os.pwrite(self._fd, view, self.size)
            self._digest.update(view[:written])
            self.size += written
            self.appended += written
            view = view[written:]

    def restart(self) -> None:
        """Throw away what it holds."""
        os.ftruncate(self._fd, 0)
        self._digest, self.size = hashlib.sha256(), 0

    def sync(self) -> None:
        """Wait until it is on the disk: only then may it get its real name."""
        os.fsync(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
