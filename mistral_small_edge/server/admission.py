"""Who is let in: as many requests as there are slots, and some that wait."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mistral_small_edge.errors import EngineOverloaded, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


class Admission:
    """Counts answers under way. Used on the event loop alone, so nothing needs a lock."""

    def __init__(self, slots: int, max_queue: int) -> None:
        self.slots = slots
        self.max_queue = max_queue
        self.running = 0

    @property
    def free_slots(self) -> int:
        """Answers that would be begun at once."""
        return max(0, self.slots - self.running)

    @property
    def waiting(self) -> int:
        """Answers that have no slot yet."""
        return max(0, self.running - self.slots)

    @contextmanager
    def let_in(self, answers: int) -> Iterator[None]:
        """Room for some answers, as long as the context lasts.

        Raises:
            InvalidRequest: so many are never let in; only prompts of one request can be so many.
            EngineOverloaded: as many wait already as may.
        """
        most = self.slots + self.max_queue
        if answers > most:
            raise InvalidRequest(f"{answers} answers in one request; {most} are let in", "prompt")
        if self.running + answers > most:
            raise EngineOverloaded(self.waiting, retry_after=1 + self.waiting)
        self.running += answers
        try:
            yield
        finally:
            self.running -= answers
