"""How a batch goes: what was done, how fast, and how long the rest will take at that speed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.batch.results import Result


class Tally:
    """Counts the results of one run.

    Args:
        pending: requests that have none yet.
        clock: seconds.
    """

    def __init__(self, pending: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._pending = pending
        self._clock = clock
        self._begun = clock()
        self._ended: float | None = None
        self.done = 0
        self.failed = 0
        self.tokens = 0  # written

    def count(self, result: Result) -> None:
        """One more."""
        self.done += 1
        self.failed += result.failed
        self.tokens += result.tokens

    def stop(self) -> None:
        """Time goes on, and the run does not."""
        self._ended = self._clock()

    @property
    def seconds(self) -> float:
        """That the run has taken."""
        return (self._clock() if self._ended is None else self._ended) - self._begun

    @property
    def requests_per_second(self) -> float:
        """Requests that were done, failures among them."""
        return self.done / max(self.seconds, 1e-9)

    @property
    def tokens_per_second(self) -> float:
        """Tokens of the answers that are whole."""
        return self.tokens / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None before the first result."""
        return (self._pending - self.done) / self.requests_per_second if self.done else None
