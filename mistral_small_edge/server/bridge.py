"""From threads to the event loop: several blocking streams as one asynchronous one.

Each stream is read by a thread of its own, as reading it blocks. Closing the bridge closes the
streams, which ends those threads.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from mistral_small_edge.chat.deltas import Delta


class DeltaStream(Protocol):
    """An answer on its way; `LLM.stream` gives one."""

    def __iter__(self) -> Iterator[Delta]: ...

    def close(self) -> None: ...


class Bridge:
    """Deltas of several answers as they come, each with the number of its stream.

    An error of one stream is raised to the reader, who is to close the bridge then.
    """

    def __init__(self, streams: Sequence[DeltaStream]) -> None:
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[int, Delta | Exception | None]] = asyncio.Queue()
        for index in range(len(streams)):
            name = f"answer-{index}"
            threading.Thread(target=self._read, args=(index,), name=name, daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Delta]]:
        running = len(self._streams)
        while running:
            index, item = await self._queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield index, item

    def close(self) -> None:
        """Give up what is not finished; takes effect within one batch. Idempotent."""
        for stream in self._streams:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, index: int) -> None:
        try:
            for delta in self._streams[index]:
                self._put(index, delta)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may be left waiting
            self._put(index, error)
        self._put(index, None)

    def _put(self, index: int, item: Delta | Exception | None) -> None:
        if not self._loop.is_closed():  # else nobody reads any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (index, item))
