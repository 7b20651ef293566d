"""Files that are whole or not there: written aside, and then given their names."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PARTIAL = ".part"


def write_aside(path: Path, content: bytes, *, replace: bool) -> None:
    """Make `content` the file at `path`, readable by its owner alone.

    Raises:
        FileExistsError: it is there, and nobody said `replace`.
        OSError: the disk does not take it; nothing is left of it.
    """
    if not replace:
        reserve(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        if not replace:
            with suppress(OSError):
                path.unlink()
        raise
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def reserve(path: Path) -> None:
    """Take a name that nothing has yet, for what is about to be moved there.

    Raises:
        FileExistsError: something has it.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def sync_folder(folder: Path) -> None:
    """Have the folder's names on the disk: a power cut must not take away what a file is called."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
