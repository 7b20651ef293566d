"""Many answers on their way at once, read by one thread: which of them ends first is the next.

No thread is made for an answer: the engine's own says when there is something to take, as it does to
the server's bridge. Closing gives up all that are not finished.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from mistral_small_edge.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from mistral_small_edge.chat.deltas import Delta
    from mistral_small_edge.llm.chat_model import DeltaStream

K = TypeVar("K", bound="Hashable")

Deltas = list[list["Delta"]]  # of each of a request's streams


class Together(Generic[K]):
    """Requests under way, each a stream or several under a key of the caller's.

    For one thread, like a stream; its length is the number of streams that have not ended.
    """

    def __init__(self) -> None:
        self._told: SimpleQueue[K] = SimpleQueue()  # by the engine's thread: look there
        self._running: dict[K, list[_Reading]] = {}

    def __len__(self) -> int:
        return sum(not one.stream.ended for run in self._running.values() for one in run)

    def begin(self, key: K, streams: Sequence[DeltaStream]) -> None:
        """Read these too; they are closed with the rest."""
        self._running[key] = [_Reading(stream) for stream in streams]
        for stream in streams:
            stream.listen(partial(self._told.put, key))

    def wait(self) -> tuple[K, Deltas | EdgeError]:
        """The next request of which all streams have ended, or one has failed.

        One has to be under way. A failed one's other streams are closed.
        """
        while True:
            key = self._told.get()
            running = self._running.get(key, ())  # told of again, it has ended meanwhile
            try:
                for one in running:
                    one.take()
            except EdgeError as error:
                self._end(key)
                return key, error
            if running and all(one.stream.ended for one in running):
                self._end(key)
                return key, [one.deltas for one in running]

    def close(self) -> None:
        """Give up what is not finished; takes effect within one batch. Idempotent."""
        for key in list(self._running):
            self._end(key)

    def _end(self, key: K) -> None:
        for one in self._running.pop(key):
            one.stream.close()


@dataclass(frozen=True, slots=True)
class _Reading:
    """A stream, and what has come of it."""

    stream: DeltaStream
    deltas: list[Delta] = field(default_factory=list)

    def take(self) -> None:
        while taken := self.stream.take():
            self.deltas.extend(taken)
