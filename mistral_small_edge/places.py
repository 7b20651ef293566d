"""Where this program keeps what may be lost: the user's folder for caches, as each platform has it.

Names folders and makes none. What is in them is known to those who write it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MOVED_BY = "MISTRAL_SMALL_EDGE_CACHE"  # an environment variable; the folder itself, not its parent
_NAME = "mistral-small-edge"


def cache_directory() -> Path:
    """`$MISTRAL_SMALL_EDGE_CACHE`, or our folder among the user's caches.

    By the XDG rules a relative `$XDG_CACHE_HOME` does not count.

    Raises:
        OSError: there is no home to keep it in.
    """
    if moved := os.environ.get(MOVED_BY):
        return Path(moved).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():
        try:
            home = Path.home()
        except RuntimeError as error:
            raise OSError(str(error)) from error
        caches = home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return caches / _NAME


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


def machine() -> Path:
    """Where what was found out about this machine is remembered.

    Raises:
        OSError: as `cache_directory`.
    """
    return cache_directory() / "machine"
