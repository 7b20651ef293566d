"""What slots held, on disk: read back by a later process instead of computed again.

A file holds the numbers of its rows and the runner's own bytes for them, and is of use only to the
same model, build and way of computing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.engine.prefix_cache import Allocation, common_prefix
from mistral_small_edge.file_cache import FileCache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger("mistral_small_edge.engine")

MAX_BYTES = 8_000_000_000  # of all files; 2,000 tokens of Mistral Small take 330 MB
MIN_ROWS = 128  # fewer are soon computed

_SIZE = struct.Struct("<I")  # bytes of the JSON that follows; the runner's bytes follow it
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
        self._files = FileCache(folder, ".prefix", max_bytes)
        self._mark = mark
        found = map(self._entry, self._files.paths())
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
        content = self._files.read(path)
        if content is None:
            self._entries = [entry for entry in self._entries if entry.path != path]
            return None
        (size,) = _SIZE.unpack_from(content)
        return content[_SIZE.size + size :]

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
        name = hashlib.sha256(text).hexdigest()[:40]
        try:
            path = self._files.write(name, (_SIZE.pack(len(text)), text, state))
            self._drop_beginnings(rows, num_exact)
        except OSError as error:
            logger.warning("what was read is not kept for later: %s", error)
            return
        # Some may have had to make room.
        self._entries = [entry for entry in self._entries if entry.path.exists()]
        self._entries.append(_Entry(path, list(rows), num_exact))

    def _entry(self, path: Path) -> _Entry | None:
        """A file by its description, which is checked when it is read; None if it is not for us."""
        try:
            (size,) = _SIZE.unpack(self._files.peek(path, _SIZE.size))
            described = json.loads(
                self._files.peek(path, _SIZE.size + min(size, _MAX_JSON))[_SIZE.size :]
            )
            rows, num_exact = described["rows"], described["num_exact"]
        except (ValueError, struct.error, KeyError, TypeError, RecursionError):
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
