"""The batch that is computed now, and whose it is: what nobody wants any more need not be finished."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mistral_small_edge.engine.backend import ModelRunner


class InWork:
    """Ends a batch early, and never another one: those who are still there must not notice."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._requests: frozenset[int] | None = None

    @contextmanager
    def of(self, requests: Iterable[int]) -> Iterator[None]:
        """While a batch for `requests` is computed; for none of them, if an idle moment is used."""
        with self._lock:
            self._requests = frozenset(requests)
        try:
            yield
        finally:
            with self._lock:
                self._requests = None
                self._runner.go_on()

    def give_up(self, requests: Iterable[int]) -> None:
        """Interrupt the batch if it is for nobody else. Any thread may call it."""
        with self._lock:
            work = self._requests
            if work is not None and self._runner.keeps_rows and work.issubset(requests):
                self._runner.interrupt()
