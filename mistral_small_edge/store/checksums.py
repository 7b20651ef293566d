"""Checksums of model files, and a note of which have been checked.

Reading 14 GB takes a minute on a good disk, so a file that was checked is remembered by its path,
size and time of change. The notes are a convenience: lost or damaged ones mean "not verified",
never an error.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.errors import ChecksumMismatch
from mistral_small_edge.places import cache_directory
from mistral_small_edge.store.hub_cache import published_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

_VERSION = 1
_BLOCK = 1 << 20  # bytes read at a time: long enough that hashing, not Python, sets the pace


@dataclass(frozen=True, slots=True)
class _Note:
    size: int
    mtime_ns: int
    sha256: str


class Checksums:
    """The notes, in one JSON file; the last writer wins, and a lost note costs one more check."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_directory() / "verified.json"

    def verified(self, file: Path) -> str | None:
        """The sha256 that `file` had when it was checked, if it has not changed since."""
        note = self._read().get(str(file.resolve()))
        return note.sha256 if note is not None and note == _note(file, note.sha256) else None

    def expected(self, file: Path) -> str | None:
        """The sha256 that `file` ought to have: the hub's, or what it once was."""
        note = self._read().get(str(file.resolve()))
        return published_sha256(file) or (note.sha256 if note else None)

    def remember(self, file: Path, sha256: str) -> None:
        """Note that `file` was read and has this sha256; forget files that are gone."""
        notes = {path: note for path, note in self._read().items() if Path(path).exists()}
        notes[str(file.resolve())] = _note(file, sha256)
        # A home that takes no files is no reason to fail a check that went well.
        with suppress(OSError):
            self._write(notes)

    def check(self, file: Path, expected: str, progress: Callable[[int], None]) -> None:
        """Read `file` and compare; `progress` is told how many bytes have been read.

        Raises:
            ChecksumMismatch: these are other bytes.
        """
        actual = sha256_of(file, progress)
        if actual != expected:
            raise ChecksumMismatch(file, expected, actual)
        self.remember(file, actual)

    def _read(self) -> dict[str, _Note]:
        try:
            document = json.loads(self._path.read_bytes())
            if document["version"] != _VERSION:
                return {}
            return {path: _Note(**fields) for path, fields in document["files"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}  # absent, torn, or somebody else's

    def _write(self, notes: dict[str, _Note]) -> None:
        document = {
            "version": _VERSION,
            "files": {path: asdict(note) for path, note in notes.items()},
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(document), encoding="utf-8")
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)


def sha256_of(file: Path, progress: Callable[[int], None]) -> str:
    """The sha256 of a file, in hexadecimal; `progress` is told how many bytes have been read."""
    digest, done = hashlib.sha256(), 0
    with file.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            done += len(block)
            progress(done)
    return digest.hexdigest()


def _note(file: Path, sha256: str) -> _Note:
    status = file.stat()
    return _Note(status.st_size, status.st_mtime_ns, sha256)
