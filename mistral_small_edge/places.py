"""Where this program keeps things: the user's folders for caches and for data, as each platform has them.

What is among the caches may be lost at any time; what is among the data is the user's own. Names
folders and makes none. What is in them is known to those who write it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Environment variables; the folder itself, not its parent.
MOVED_BY = "MISTRAL_SMALL_EDGE_CACHE"
DATA_MOVED_BY = "MISTRAL_SMALL_EDGE_DATA"
_NAME = "mistral-small-edge"


def cache_directory() -> Path:
    """`$MISTRAL_SMALL_EDGE_CACHE`, or our folder among the user's caches.

    By the XDG rules a relative `$XDG_CACHE_HOME` does not count.

    Raises:
        OSError: there is no home to keep it in.
    """
    return _folder(MOVED_BY, "XDG_CACHE_HOME", ".cache", mac="Library/Caches")


def data_directory() -> Path:
    """`$MISTRAL_SMALL_EDGE_DATA`, or our folder among the user's data; otherwise as the other.

    Raises:
        OSError: there is no home to keep it in.
    """
    return _folder(
        DATA_MOVED_BY, "XDG_DATA_HOME", ".local/share", mac="Library/Application Support"
    )


def prompts() -> Path:
    """Where prompts that were read outlive the process.

    Raises:
        OSError: as `cache_directory`.
    """
    return cache_directory() / "prompts"


def images() -> Path:
    """Where what pictures look like to the model outlives the process.

    Raises:
        OSError: as `cache_directory`.
    """
    return cache_directory() / "images"


def tensors() -> Path:
    """Where what clients have sent to a worker outlives the process.

    Raises:
        OSError: as `cache_directory`.
    """
    return cache_directory() / "tensors"


def machine() -> Path:
    """Where what was found out about this machine is remembered.

    Raises:
        OSError: as `cache_directory`.
    """
    return cache_directory() / "machine"


def servers() -> Path:
    """Where servers that run on this machine are noted.

    Raises:
        OSError: as `cache_directory`.
    """
    return cache_directory() / "servers"


def _folder(moved_by: str, xdg: str, usual: str, *, mac: str) -> Path:
    if moved := os.environ.get(moved_by):
        return Path(moved).expanduser()
    parent = Path(os.environ.get(xdg, ""))
    if not parent.is_absolute():
        try:
            home = Path.home()
        except RuntimeError as error:
            raise OSError(str(error)) from error
        parent = home / (mac if sys.platform == "darwin" else usual)
    return parent / _NAME
