"""Vectors of pictures that were looked at: in memory, and on disk where a folder is given.

Looking at a picture takes seconds to minutes, so it is done once. A file's name says all that its
vectors depend on. Both places are bounded: what was not used for longest goes first. A disk that does
not take a file is no error.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from mistral_small_edge.file_cache import IMAGES, FileCache, Kind, Label

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

logger = logging.getLogger("mistral_small_edge.llama")

# Of float32, the largest picture takes 63 MB of a model that is 5120 wide.
MEMORY_BYTES = 256_000_000

_SHAPE = struct.Struct("<II")  # rows, width; float32 follow, rows first


class VectorCache:
    """Vectors by the digest of their picture. Used by one thread.

    Args:
        mark: names the network and the build that the vectors come from.
        folder: where they outlive the process; made if it is not there.
        model: the network's name, for people.
    """

    def __init__(
        self,
        mark: str,
        folder: Path | None = None,
        *,
        memory_bytes: int = MEMORY_BYTES,
        model: str = "",
        disk_bytes: int = IMAGES.max_bytes,
    ) -> None:
        self._mark = mark
        self._model = model
        self._files = FileCache(folder, Kind(IMAGES.suffix, disk_bytes)) if folder else None
        self._memory_bytes = memory_bytes
        self._kept: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def get(self, digest: str) -> NDArray[np.float32] | None:
        """(rows, width) of a picture, if they are kept; not to be written to."""
        if digest in self._kept:
            self._kept.move_to_end(digest)
            return self._kept[digest]
        content = self._files and self._files.read(self._files.path(self._name(digest)))
        if not content:
            return None
        vectors = _vectors(content)
        if vectors is None:
            return None
        self._remember(digest, vectors)
        return vectors

    def put(self, digest: str, vectors: NDArray[np.float32]) -> None:
        """Keep a picture's vectors."""
        self._remember(digest, vectors)
        if self._files is not None:
            data = vectors.astype("<f4", copy=False).tobytes()
            label = Label(self._model, len(vectors))
            try:
                self._files.write(self._name(digest), (_SHAPE.pack(*vectors.shape), data), label)
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

    def _name(self, digest: str) -> str:
        return hashlib.sha256(f"{self._mark} {digest}".encode()).hexdigest()[:40]


def _vectors(content: memoryview) -> NDArray[np.float32] | None:
    """What `put` wrote; None for what somebody else did, with a checksum and all."""
    try:
        rows, width = _SHAPE.unpack_from(content)
        return np.frombuffer(content[_SHAPE.size :], "<f4").astype(np.float32).reshape(rows, width)
    except (struct.error, ValueError):
        return None
