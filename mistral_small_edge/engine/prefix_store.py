"""What slots held, on disk: read back by a later process instead of computed again.

A file holds the numbers of its rows and the runner's own bytes for them, and is of use only to the
same model, build and way of computing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mistral_small_edge.engine.prefix import MIN_ROWS, Prefix
from mistral_small_edge.engine.prefix_cache import Allocation
from mistral_small_edge.file_cache import PROMPTS, FileCache, Kind, Label

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mistral_small_edge.engine.reuse import Reuse

logger = logging.getLogger("mistral_small_edge.engine")

# All rows of a slot are written, whatever of them is on disk already. So nothing is written for less
# than this share more: a conversation that grows is written now and then, a few times its bytes in
# all, and many questions about one document do not fill the disk with copies of it.
_SHARE = 4  # a quarter

_SIZE = struct.Struct("<I")  # bytes of the JSON that follows; the runner's bytes follow it
_MAX_JSON = 1 << 26  # bytes; 131,072 rows that are all of pictures take half of it


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file by what it says of itself."""

    path: Path
    prefix: Prefix


class PrefixStore:
    """Prefixes in a folder. Used by one thread; other processes may use the same folder.

    Protocol: what a slot holds is written if the store `wants` it, aside only if nothing else
    `is_writing`: there is one copy of a state in memory at a time.

    Args:
        mark: names the model, the build and how it computes.
        model: the model's name, for people.
        affords: whether a copy of so many rows may be taken into memory now.
    """

    def __init__(
        self,
        folder: Path,
        mark: str,
        *,
        model: str = "",
        affords: Callable[[int], bool] = lambda _rows: True,
        max_bytes: int = PROMPTS.max_bytes,
    ) -> None:
        self._files = FileCache(folder, Kind(PROMPTS.suffix, max_bytes))
        self._mark = mark
        self._model = model
        self._affords = affords
        found = map(self._entry, self._files.paths())
        self._entries = [entry for entry in found if entry is not None]
        self._aside = ThreadPoolExecutor(1, "prefix-store")  # a thread once it is needed
        self._coming: tuple[_Entry, Future[Path]] | None = None
        self._refused = False

    @property
    def is_writing(self) -> bool:
        """Whether what was written aside is still on its way."""
        return self._coming is not None and not self._coming[1].done()

    def find(self, prompt: Sequence[int], reuse: Reuse) -> tuple[Path, Allocation] | None:
        """The file that has most of the prompt, and how many leading rows of it the prompt can take over."""
        self._settle()
        self._refused = False  # a new prompt is a new chance
        best: tuple[Path, Allocation] | None = None
        for entry in self._entries:
            usable = entry.prefix.usable(prompt, reuse)
            better = usable >= MIN_ROWS and (best is None or usable > best[1].num_cached)
            if better and self._affords(len(entry.prefix.rows)):
                best = entry.path, Allocation(-1, usable, min(usable, entry.prefix.num_exact))
        return best

    def read(self, path: Path) -> memoryview | None:
        """The runner's bytes; None, and the file is forgotten, if it is not what was written."""
        content = self._files.read(path)
        if content is None or len(content) < _SIZE.size:
            self._entries = [entry for entry in self._entries if entry.path != path]
            return None
        (size,) = _SIZE.unpack_from(content)
        return content[_SIZE.size + size :]

    def wants(self, rows: Sequence[int], num_exact: int, *, closing: bool = False) -> bool:
        """Whether a slot's rows are worth being written.

        When `closing`, also what is little more than a file has, if it takes that file's place:
        the disk holds no more for it, and there is no later.
        """
        self._settle(wait=closing)
        if len(rows) < MIN_ROWS or (self._refused and not closing) or not self._affords(len(rows)):
            return False
        missing, is_apart = min(
            (
                (entry.prefix.lacks(rows, num_exact), not entry.prefix.begins(rows, num_exact))
                for entry in self._entries
                if self._files.has(entry.path)
            ),
            default=(len(rows), True),
        )
        least = 0 if closing and not is_apart else (len(rows) - missing) // _SHARE
        return missing >= max(MIN_ROWS, least)

    def write(
        self, rows: Sequence[int], num_exact: int, state: memoryview, *, aside: bool = False
    ) -> None:
        """Keep a slot's rows; files that hold no more than a beginning of them go.

        Args:
            aside: let another thread write; `state` is not to be changed afterwards.
        """
        self._settle(wait=True)
        description = {"mark": self._mark, "rows": list(rows), "num_exact": num_exact}
        text = json.dumps(description).encode()
        name = hashlib.sha256(text).hexdigest()[:40]
        parts = (_SIZE.pack(len(text)), text, state)
        label = Label(self._model, len(rows))
        write = partial(self._files.write, name, parts, label)
        entry = _Entry(self._files.path(name), Prefix(list(rows), num_exact))
        self._coming = entry, self._beside(write) if aside else _run(write)
        self._settle(wait=not aside)

    def close(self) -> None:
        """Wait for what is on its way. Idempotent."""
        self._settle(wait=True)
        self._aside.shutdown()

    def _beside(self, write: Callable[[], Path]) -> Future[Path]:
        try:
            return self._aside.submit(write)
        except RuntimeError:  # the interpreter is about to end, and starts no thread
            return _run(write)

    def _settle(self, *, wait: bool = False) -> None:
        """Take note of a file that has come; none is on its way afterwards if we `wait`."""
        if self._coming is None or not (wait or self._coming[1].done()):
            return
        (entry, written), self._coming = self._coming, None
        try:
            written.result()
            self._drop_beginnings(entry)
        except (OSError, MemoryError) as error:
            logger.warning("what was read is not kept for later: %s", error)
            self._refused = True
            return
        # Some may have had to make room.
        self._entries = [other for other in self._entries if self._files.has(other.path)]
        self._entries.append(entry)

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
        return _Entry(path, Prefix(rows, num_exact))

    def _drop_beginnings(self, newest: _Entry) -> None:
        kept = []
        for entry in self._entries:
            if entry.path == newest.path:
                continue
            if entry.prefix.begins(newest.prefix.rows, newest.prefix.num_exact):
                entry.path.unlink(missing_ok=True)
            else:
                kept.append(entry)
        self._entries = kept


def _run(write: Callable[[], Path]) -> Future[Path]:
    """The same here and now."""
    written: Future[Path] = Future()
    try:
        written.set_result(write())
    except (OSError, MemoryError) as error:
        written.set_exception(error)
    return written
