"""Ends a batch that llama.cpp is computing.

llama.cpp asks between two operations, some thousand times a batch, whether to go on. A Python function
would have to take the interpreter's lock each time; C's own `strlen` answers as well: it is
asked about a text of ours, which is empty until somebody writes into it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llama_cpp import llama_cpp as lib

INTERRUPTED = 2  # what llama_decode returns then


class Interruption:
    """Of one context's batches. Lives as long as the context is used."""

    def __init__(self, context: Any) -> None:
        self._text = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p)
        self._callback = lib.ggml_abort_callback(strlen.value or 0)
        lib.llama_set_abort_callback(context, self._callback, self._text)

    def ask(self) -> None:
        """End batches, from the one in work on. Any thread may call it."""
        self._text.value = b"!"

    def over(self) -> None:
        """Let batches be computed again."""
        self._text.value = b""
