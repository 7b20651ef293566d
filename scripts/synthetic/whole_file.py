"""A file that is there when it is whole, and not before; and what a user is told if it cannot be."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Refused(Exception):
    """What was asked for cannot be made; the message is a sentence for the user."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to, beside `path`; it becomes `path` at the end, and vanishes on an error.

    Raises:
        Refused: `path` is a directory.
        OSError: nothing can be written there.
    """
    if path.is_dir():
        raise Refused(f"{path} is a directory")
    part = path.with_name(f"{path.name}.part")
    part.touch()
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_room(path: Path, size: int) -> None:
    """Raises Refused if the disk of `path` has less than `size` bytes free."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise Refused(
            f"the file would take {size / 1e9:.1f} GB, and its disk has {free / 1e9:.1f} GB free"
        )
