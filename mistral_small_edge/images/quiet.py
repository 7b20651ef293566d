"""What Pillow's parsers say aloud of odd files, kept from standard error.

They raise where a file cannot be read, and that is told to whoever sent it. What they write besides
is about metadata that we do not use, or says the same twice; in a terminal it would stand in an
answer, and a stranger could fill a server's log with it.
"""

from __future__ import annotations

import ctypes
import logging
import re
import warnings
from functools import cache

from PIL import _imaging

# As `warnings` keeps it. Pillow's warning of a picture's size is of another class, and stays.
_HUSHED = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)


def hush() -> None:
    """Keep parsers quiet, in every thread and for good.

    Not around each call: a filter or a handler that one thread takes back is gone for the others.
    """
    if _HUSHED not in warnings.filters[:1]:  # whoever filters since then is asked first
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    _hush_once()


@cache
def _hush_once() -> None:
    # The logger's records still reach whoever listens; only the last resort is spared them.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (OSError, AttributeError):
        return  # a Pillow that has libtiff inside, or none
    set_handler.argtypes, set_handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
    set_handler(None)
