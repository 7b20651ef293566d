"""Vectors of pictures that were looked at: in memory, and on disk where a folder is given.

Looking at a picture takes seconds to minutes, so it is done once. A file's name says all that its
vectors depend on, its content is checked before it is believed, and both places are bounded: what
was not used for longest goes first. A disk that does not take a file is no error.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

logger = logging.getLogger("mistral_small_edge.llama")

# Of float32, the largest picture takes 63 MB of a model that is 5120 wide.
MEMORY_BYTES = 256_000_000
DISK_BYTES = 2_000_000_000

_SUFFIX = ".vectors"
_HEAD = struct.Struct("<8sII32s")  # magic, rows, width, sha256 of these and of what follows
_MAGIC = b"MSEVEC01"


class VectorCache:
    """Vectors by the digest of their picture. Used by one thread.

    Args:
        mark: names the network and the build that the vectors come from.
        folder: where they outlive the process; made if it is not there.
    """

    def __init__(
        self,
        mark: str,
        folder: Path | None = None,
        *,
        memory_bytes: int = MEMORY_BYTES,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        self._mark = mark
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def get(self, digest: str) -> NDArray[np.float32] | None:
        """(rows, width) of a picture, if they are kept; not to be written to."""
        if digest in self._kept:
            self._kept.move_to_end(digest)
            return self._kept[digest]
        vectors = self._read(self._path(digest)) if self._folder is not None else None
        if vectors is not None:
            self._remember(digest, vectors)
        return vectors

    def put(self, digest: str, vectors: NDArray[np.float32]) -> None:
        """Keep a picture's vectors."""
        self._remember(digest, vectors)
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                _write(self._path(digest), vectors)
                self._shrink(self._folder)
            except OSError as error:
                logger.warning("what a picture looks like is not kept: %s", error)

    def _remember(self, digest: str, vectors: NDArray[np.float32]) -> None:
        vectors.flags.writeable = False
        self._kept[digest] = vectors
        self._kept.move_to_end(digest)
        # The last one stays, however large: it is about to be read.
        while len(self._kept) > 1 and self._size() > self._memory_bytes:
            self._kept.popitem(last=False)

    def _size(self) -> int:
        return sum(vectors.nbytes for vectors in self._kept.values())

    def _path(self, digest: str) -> Path:
        assert self._folder is not None  # noqa: S101 - asked for where there is one
        name = hashlib.sha256(f"{self._mark} {digest}".encode()).hexdigest()[:40]
        return self._folder / (name + _SUFFIX)

    def _read(self, path: Path) -> NDArray[np.float32] | None:
        try:
            data = path.read_bytes()
        except OSError:
            return None
        vectors = _parsed(data)
        with suppress(OSError):
            if vectors is None:
                path.unlink()
            else:
                os.utime(path)  # used now
        return vectors

    def _shrink(self, folder: Path) -> None:
        # With those that somebody was killed at: nobody else would ever remove them.
        files = [(path.stat(), path) for path in folder.glob(f"*{_SUFFIX}*")]
        files.sort(key=lambda file: file[0].st_mtime_ns)
        size = sum(status.st_size for status, _ in files)
        for status, path in files[:-1]:
            if size <= self._disk_bytes:
                return
            path.unlink(missing_ok=True)
            size -= status.st_size


def _write(path: Path, vectors: NDArray[np.float32]) -> None:
    """Whole or not at all, also if another process writes the same."""
    data = vectors.astype("<f4", copy=False).tobytes()
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, *vectors.shape, _checksum(vectors.shape, data)))
            file.write(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _checksum(shape: tuple[int, ...], data: bytes | memoryview) -> bytes:
    checksum = hashlib.sha256(repr(shape).encode())
    checksum.update(data)
    return checksum.digest()


def _parsed(data: bytes) -> NDArray[np.float32] | None:
    """What a file holds; None if that is not what was written."""
    if len(data) < _HEAD.size:
        return None
    magic, rows, width, digest = _HEAD.unpack_from(data)
    body = memoryview(data)[_HEAD.size :]
    sound = magic == _MAGIC and len(body) == rows * width * 4
    if not sound or _checksum((rows, width), body) != digest:
        return None
    return np.frombuffer(body, "<f4").astype(np.float32).reshape(rows, width)
