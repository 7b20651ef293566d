"""A long call into llama.cpp, carried on a slice at a time by a thread that has other things to do.

The call runs in a thread of its own, and that only while `advance` waits for it: at any time one of
the two computes and the other stands still, so they never compete for the processor's cores. The
call stands still where it asks its `pause`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Pause = Callable[[float], bool]


class Slices:
    """`call` as something that is advanced, to its end or until it is given up.

    Args:
        call: given a `pause` to ask between two slices, with how much is done (0 to 1). When that
            says False the call is to end soon; its result is not looked at.
    """

    def __init__(self, call: Callable[[Pause], Any]) -> None:
        self.done = 0.0
        self._call = call
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._given_up = self._ended = False
        self._result: Any = None
        self._error: BaseException | None = None
        # A fresh one each time: when it ends, so do the compute threads that it made.
        self._thread = threading.Thread(target=self._run, name="slices", daemon=True)

    def advance(self) -> Any:
        """Let it run to its next pause; its result when it has ended, None before.

        Raises:
            Whatever the call raises.
        """
        if not self._ended:
            self._resume()
        if not self._ended:
            return None
        if self._error is not None:
            raise self._error
        self.done = 1.0
        return self._result

    def close(self) -> None:
        """Give it up; returns when it has ended, within a slice. Idempotent."""
        self._given_up = True
        while self._thread.is_alive():
            self._resume()

    def _resume(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
        self._go.release()
        self._stands.acquire()
        if self._ended:
            self._thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._result = self._call(self._pause)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
            self._error = error
        self._ended = True
        self._stands.release()

    def _pause(self, done: float) -> bool:
        if not self._given_up:
            self.done = done
            self._stands.release()
            self._go.acquire()
        return not self._given_up
