"""From the engine's thread to the event loop: several streams as one asynchronous one.

No thread reads them: the engine's own says when there is something, once for all that a step gave,
and the loop takes what is there. Closing the bridge closes the streams.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mistral_small_edge.chat.deltas import Delta
    from mistral_small_edge.llm.chat_model import DeltaStream


class Bridge:
    """Deltas of several answers as they come, each with the number of its stream.

    An error of one stream is raised to the reader, who is to close the bridge then.
    """

    def __init__(self, streams: Sequence[DeltaStream]) -> None:
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._something = asyncio.Event()
        self._told = False  # and the loop has not looked yet
        for stream in streams:
            stream.listen(self._tell)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Delta]]:
        running = dict(enumerate(self._streams))
        while running:
            await self._something.wait()
            self._something.clear()
            self._told = False  # before looking: what comes from now on is told again
            for index, stream in list(running.items()):
                while deltas := stream.take():
                    for delta in deltas:
                        yield index, delta
                if stream.ended:
                    del running[index]

    def close(self) -> None:
        """Give up what is not finished; takes effect within one batch. Idempotent."""
        for stream in self._streams:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self) -> None:
        """Called by the engine's thread: hand over, and be back at once."""
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._something.set)
