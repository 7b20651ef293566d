"""Ends a batch that llama.cpp is computing.

llama.cpp asks between two operations, some thousand times a batch, whether to go on. A Python function
would have to take the interpreter's lock each time; C's own `strlen` answers as well: it is
asked about a text of ours, which is empty until somebody writes into it.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llama_cpp import llama_cpp as lib

from mistral_small_edge.llama.log import no_complaints_if

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED = 2  # what llama_decode returns then


class Interruption:
    """Of one context's batches. Lives as long as the context is used."""

    def __init__(self, context: Any) -> None:
        self._text = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p)
        self._callback = lib.ggml_abort_callback(strlen.value or 0)
        lib.llama_set_abort_callback(context, self._callback, self._text)
        self._lock = threading.Lock()
        self._reasons: set[object] = set()

    def ask(self) -> None:
        """End batches, from the one in work on. Any thread may call it."""
        self._write(add=self)

    def over(self) -> None:
        """Let batches be computed again."""
        self._write(remove=self)

    @contextmanager
    def listening(self, seconds: float | None) -> Iterator[None]:
        """Compute a batch meanwhile, and end it once it has taken so long; None for as long as it takes."""
        with no_complaints_if(lambda: bool(self._reasons)), self._after(seconds):
            yield

    @contextmanager
    def _after(self, seconds: float | None) -> Iterator[None]:
        if seconds is None:
            yield
            return
        late = object()
        timer = threading.Timer(seconds, self._write, kwargs={"add": late})
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # it may be about to write
            self._write(remove=late)

    def _write(self, *, add: object = None, remove: object = None) -> None:
        with self._lock:
            if add is not None:
                self._reasons.add(add)
            self._reasons.discard(remove)
            self._text.value = b"!" if self._reasons else b""
