"""A folder of files that may be lost at any time: each whole or not there, together bounded.

What is worth keeping across processes goes here under a name of the caller's. A file is believed only
if its checksum agrees; what is torn or tampered with is removed. The disk is never filled. Other
processes may use the same folder. What the bytes mean is not known here.

What was not used for longest goes first. A file's worth is what it would take to compute again times
how likely that is, and its price is its bytes. Within a model work and bytes both grow with the tokens,
so their quotient hardly differs from file to file, and what is left is the likelihood: of that, the last
use tells most, and nothing else is known.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

RESERVE_BYTES = 2_000_000_000  # of a disk that we leave free, or the tenth of a small one

_MAGIC = b"MSECACH2"
_HEAD = struct.Struct("<8s32s")  # magic, sha256 of all that follows
_SIZE = struct.Struct("<I")  # bytes of the label that follows; behind it the content
_MAX_LABEL = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class Kind:
    """Files that are told from whatever else is there by the suffix of their names.

    `max_bytes` of all of them; the newest one stays, however large.
    """

    suffix: str
    max_bytes: int


PROMPTS = Kind(".prefix", 8_000_000_000)  # 2,000 tokens of Mistral Small take 330 MB
IMAGES = Kind(".vectors", 2_000_000_000)  # the largest picture takes it 63 MB


@dataclass(frozen=True, slots=True)
class Label:
    """What a file says of itself to people: whose work it is, and how many tokens it spares."""

    model: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it lies there, unchecked.

    `label` is None if it says nothing of itself, `used` seconds since the epoch.
    """

    path: Path
    label: Label | None
    size: int
    used: float


class Disk(Protocol):
    """As `shutil.disk_usage` has it, in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


class FileCache:
    """Files of one kind in `folder`, which is made when the first one comes.

    Args:
        disk: tells how full a folder's disk is.
    """

    def __init__(
        self, folder: Path, kind: Kind, *, disk: Callable[[Path], Disk] = shutil.disk_usage
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._disk = disk

    def path(self, name: str) -> Path:
        """Where the content called `name` is, if it is."""
        return self._folder / (name + self._kind.suffix)

    def paths(self) -> list[Path]:
        """Every file that is there, in the order of the names."""
        return sorted(self._folder.glob("*" + self._kind.suffix))

    def has(self, path: Path) -> bool:
        """Whether it is still there: others may make room, or clear the folder."""
        try:
            return path.exists()
        except OSError:
            return False

    def files(self) -> list[Kept]:
        """The same with what is known of them, the longest unused first.

        With those that somebody was killed at: nobody else would ever remove them.
        """
        found = []
        for path in self._folder.glob(f"*{self._kind.suffix}*"):
            with suppress(OSError):  # somebody else removed it
                status = path.stat()
                found.append((status.st_mtime_ns, path, status))
        return [
            Kept(path, _label(path), status.st_size, status.st_mtime)
            for _, path, status in sorted(found, key=lambda each: each[:2])
        ]

    def peek(self, path: Path, size: int) -> bytes:
        """The first `size` bytes of a content, unchecked; fewer or none if they are not there."""
        return _opening(path, size)[1]

    def read(self, path: Path) -> memoryview | None:
        """A content, in writable memory of its own; None, and no file any more, if it is not whole."""
        try:
            content = _content(path)
        except MemoryError:  # sound, perhaps
            return None
        with suppress(OSError):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                os.utime(path)  # used now
        return content

    def write(self, name: str, parts: Sequence[bytes | memoryview], label: Label) -> Path:
        """Keep a content, in the place of one of that name.

        Raises:
            OSError: the disk does not take it, or would be too full; nothing is left of it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(asdict(label)).encode()
        parts = (_SIZE.pack(len(text)), text, *parts)
        self._make_room(_HEAD.size + sum(map(len, parts)))
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
        return path

    def clear(self) -> int:
        """Remove every file; the bytes of those that let themselves be removed."""
        freed = 0
        for kept in self.files():
            with suppress(OSError):
                kept.path.unlink()
                freed += kept.size
        return freed

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest until `size` more bytes are within the bounds."""
        files = self.files()
        kept = sum(file.size for file in files)
        disk = self._disk(self._folder)
        most = disk.free + kept - min(RESERVE_BYTES, disk.total // 10)
        if size > most:  # nothing is gained by removing anything
            raise OSError(errno.ENOSPC, "the disk would be too full", str(self._folder))
        most = min(most, self._kind.max_bytes)
        for file in files:
            if kept + size <= most:
                return
            file.path.unlink(missing_ok=True)
            kept -= file.size


def _opening(path: Path, size: int) -> tuple[bytes, bytes]:
    """A file's label, and the first `size` bytes of its content; unchecked."""
    try:
        with path.open("rb") as file:
            magic, _ = _HEAD.unpack(file.read(_HEAD.size))
            (length,) = _SIZE.unpack(file.read(_SIZE.size))
            if magic != _MAGIC or length > _MAX_LABEL:
                return b"", b""
            return file.read(length), file.read(size)
    except (OSError, struct.error):
        return b"", b""


def _label(path: Path) -> Label | None:
    try:
        said = json.loads(_opening(path, 0)[0])
        model, tokens = said["model"], said["tokens"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    sound = isinstance(model, str) and isinstance(tokens, int)
    return Label(model, tokens) if sound else None


def _content(path: Path) -> memoryview | None:
    try:
        with path.open("rb") as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            read = memoryview(data)[: file.readinto(data)]
    except OSError:
        return None
    if len(read) < _HEAD.size + _SIZE.size:
        return None
    magic, checksum = _HEAD.unpack_from(read)
    body = read[_HEAD.size :]
    if magic != _MAGIC or _checksum([body]) != checksum:
        return None
    (length,) = _SIZE.unpack_from(body)
    return body[_SIZE.size + length :]


def _checksum(parts: Sequence[bytes | memoryview]) -> bytes:
    checksum = hashlib.sha256()
    for part in parts:
        checksum.update(part)
    return checksum.digest()
