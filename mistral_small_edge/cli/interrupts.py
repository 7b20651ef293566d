"""What Ctrl-C does while something is under way that must not be torn anywhere.

Knows signals and nothing else. For the main thread, the only one that Python hands signals to.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@contextmanager
def once() -> Iterator[None]:
    """Let one Ctrl-C through; impatient ones after it must not hit what cleans up."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def asked_to_stop() -> Iterator[int]:
    """A descriptor that can be read once SIGINT or SIGTERM has come; they do nothing else meanwhile.

    For a loop that waits for other descriptors, too.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in numbers}
    woken = signal.set_wakeup_fd(writing)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Keep Ctrl-C until the yielded function is called, or the end: each raises it then.

    For work in C that calls back: raised inside a callback, it would be printed and forgotten.
    """
    pressed: list[int] = []

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
    check()
