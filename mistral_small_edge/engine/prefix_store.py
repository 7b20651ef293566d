"""What slots held, on disk: read back by a later process instead of computed again.

A file holds the numbers of its rows and the runner's own bytes for them. It is believed only if it
was written for the same model, build and way of computing, and whole: what is torn, foreign or
tampered with is as good as not there. What was not used for longest goes first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.engine.prefix_cache import Allocation, common_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger("mistral_small_edge.engine")

MAX_BYTES = 8_000_000_000  # of all files; 2,000 tokens of Mistral Small take 330 MB
MIN_ROWS = 128  # fewer are soon computed

_SUFFIX = ".prefix"
_MAGIC = b"MSEPRE01"
_HEAD = struct.Struct("<8s32sI")  # magic, sha256 of all that follows it, bytes of the JSON
_MAX_JSON = 1 << 26  # bytes; 131,072 rows that are all of pictures take half of it


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file by what it says of itself; `rows` are an identity, as in `Prompt`."""

    path: Path
    rows: list[int]
    num_exact: int


class PrefixStore:
    """Prefixes in a folder. Used by one thread; other processes may use the same folder.

    Args:
        mark: names the model, the build and how it computes.
    """

    def __init__(self, folder: Path, mark: str, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._mark = mark
        self._max_bytes = max_bytes
        found = map(self._entry, sorted(folder.glob("*" + _SUFFIX)))
        self._entries = [entry for entry in found if entry is not None]

    def find(
        self, prompt: Sequence[int], *, limit: int, exact: bool
    ) -> tuple[Path, Allocation] | None:
        """The file that has most of the prompt, and how many leading rows of it are the prompt's.

        Args:
            limit: at most this many rows may be reused.
            exact: reuse only rows that a prefill computed.
        """
        best: tuple[Path, Allocation] | None = None
        for entry in self._entries:
            common = min(common_prefix(entry.rows, prompt), limit)
            usable = min(common, entry.num_exact) if exact else common
            if usable >= MIN_ROWS and (best is None or usable > best[1].num_cached):
                best = entry.path, Allocation(-1, usable, min(usable, entry.num_exact))
        return best

    def read(self, path: Path) -> memoryview | None:
        """The runner's bytes; None, and the file is forgotten, if it is not what was written."""
        state = _state(_bytes_of(path))
        if state is None:
            self._entries = [entry for entry in self._entries if entry.path != path]
            with suppress(OSError):
                path.unlink(missing_ok=True)
        else:
            with suppress(OSError):
                os.utime(path)  # used now
        return state

    def has(self, rows: Sequence[int], num_exact: int) -> bool:
        """Whether hardly more could be read back than now if these rows were written, too."""
        return any(
            common_prefix(entry.rows, rows) > len(rows) - MIN_ROWS
            and entry.num_exact >= num_exact - MIN_ROWS
            for entry in self._entries
        )

    def write(self, rows: Sequence[int], num_exact: int, state: memoryview) -> None:
        """Keep a slot's rows; files that hold no more than a beginning of them go."""
        description = {"mark": self._mark, "rows": list(rows), "num_exact": num_exact}
        text = json.dumps(description).encode()
        path = self._folder / (hashlib.sha256(text).hexdigest()[:40] + _SUFFIX)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, text, state)
            self._drop_beginnings(rows, num_exact)
            self._shrink(path)
        except OSError as error:
            logger.warning("what was read is not kept for later: %s", error)
        else:
            self._entries.append(_Entry(path, list(rows), num_exact))

    def _entry(self, path: Path) -> _Entry | None:
        try:
            with path.open("rb") as file:
                magic, _, size = _HEAD.unpack(file.read(_HEAD.size))
                if magic != _MAGIC or size > _MAX_JSON:
                    return None
                described = json.loads(file.read(size))
            rows, num_exact = described["rows"], described["num_exact"]
        except (OSError, ValueError, struct.error, KeyError, TypeError, RecursionError):
            return None
        sound = isinstance(rows, list) and isinstance(num_exact, int)
        if not sound or described["mark"] != self._mark:
            return None
        return _Entry(path, rows, num_exact)

    def _drop_beginnings(self, rows: Sequence[int], num_exact: int) -> None:
        kept = []
        for entry in self._entries:
            begins = common_prefix(entry.rows, rows) == len(entry.rows)
            if begins and entry.num_exact <= num_exact:
                entry.path.unlink(missing_ok=True)
            else:
                kept.append(entry)
        self._entries = kept

    def _shrink(self, newest: Path) -> None:
        """Within the bound again, whoever wrote; the newest stays."""
        files = [(path.stat(), path) for path in self._folder.glob(f"*{_SUFFIX}*")]
        files.sort(key=lambda file: file[0].st_mtime_ns)
        size = sum(status.st_size for status, _ in files)
        for status, path in files:
            if size <= self._max_bytes:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                self._entries = [entry for entry in self._entries if entry.path != path]
                size -= status.st_size


def _write(path: Path, text: bytes, state: memoryview) -> None:
    """Whole or not at all, also if another process writes the same."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.touch(mode=0o600)  # conversations are in there
        with partial.open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, _checksum(text, state), len(text)))
            file.write(text)
            file.write(state)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _checksum(text: bytes | memoryview, state: bytes | memoryview) -> bytes:
    checksum = hashlib.sha256(struct.pack("<I", len(text)))
    checksum.update(text)
    checksum.update(state)
    return checksum.digest()


def _bytes_of(path: Path) -> memoryview:
    """A file's bytes, in memory that is not copied again; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            return memoryview(data)[: file.readinto(data)]
    except OSError:
        return memoryview(b"")


def _state(data: memoryview) -> memoryview | None:
    if len(data) < _HEAD.size:
        return None
    magic, checksum, size = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or _checksum(body[:size], body[size:]) != checksum:
        return None
    return body[size:]
