"""From the engine's thread to the event loop: several streams as one asynchronous one.

No thread reads them: the engine's own says when there is something, once for all that a step gave,
and the loop takes what is there. Closing the bridge closes the streams.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from mistral_small_edge.errors import EngineTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mistral_small_edge.chat.deltas import Delta
    from mistral_small_edge.llm.chat_model import DeltaStream


class Bridge:
    """Deltas of several answers as they come, those of a time together, with the number of their stream.

    None of them where the reader was only woken. An error of one stream is raised to the reader, who
    is to close the bridge then; so is EngineTimeout, if the streams have not ended after `seconds`.
    The reader may be one task now and another later.
    """

    def __init__(self, streams: Sequence[DeltaStream], seconds: float | None = None) -> None:
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._something = asyncio.Event()
        self._told = False  # and the loop has not looked yet
        self._late = False
        self._seconds = seconds
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._time_out)
        for stream in streams:
            stream.listen(self._tell)

    async def __aiter__(self) -> AsyncIterator[tuple[int, list[Delta]]]:
        running = dict(enumerate(self._streams))
        while running:
            await self._something.wait()
            self._something.clear()
            if self._late:
                raise EngineTimeout(self._seconds or 0)
            self._told = False  # before looking: what comes from now on is told again
            woken = True
            for index, stream in list(running.items()):
                while deltas := stream.take():
                    woken = False
                    yield index, deltas
                if stream.ended:
                    del running[index]
            if woken:
                yield 0, []

    def wake(self) -> None:
        """Have the reader go on though nothing may have come. For the event loop's own thread."""
        self._something.set()

    def close(self) -> None:
        """Give up what is not finished; takes effect within one batch. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        for stream in self._streams:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _time_out(self) -> None:
        self._late = True
        self.wake()

    def _tell(self) -> None:
        """Called by the engine's thread: hand over, and be back at once."""
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._something.set)
