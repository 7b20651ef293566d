"""Server-sent events: JSON objects as they come, and a sign of life when none does.

A prompt can take minutes to be read. Comments, which clients skip, keep them and the proxies between
from giving up.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Self

from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import ExitStack

    from starlette.types import Receive, Scope, Send

    from mistral_small_edge.server.wire_answer import JSONObject

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
DONE = b"data: [DONE]\n\n"
ALIVE = b": reading\n\n"


def event(value: JSONObject) -> bytes:
    """One object as an event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


class Pulse:
    """Wakes who writes a stream when nothing was sent for `seconds`.

    One timer for all of the stream: it is looked at when it is due, and not moved by every event.
    """

    def __init__(self, seconds: float, wake: Callable[[], None]) -> None:
        self._seconds = seconds
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._look)

    @property
    def missed(self) -> bool:
        """Whether it is time for a sign of life."""
        return self._quiet() >= self._seconds

    def beat(self) -> None:
        """Something was sent."""
        self._last = self._loop.time()

    def _quiet(self) -> float:
        return self._loop.time() - self._last

    def _look(self) -> None:
        quiet = self._quiet()
        if quiet >= self._seconds:
            self._wake()
            quiet = 0.0
        self._timer = self._loop.call_later(self._seconds - quiet, self._look)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


class EventStream(StreamingResponse):
    """A stream of events that gives back what it holds, whatever becomes of the client."""

    def __init__(
        self, events: AsyncIterator[bytes], held: ExitStack, headers: dict[str, str]
    ) -> None:
        super().__init__(events, media_type=MEDIA_TYPE, headers=HEADERS | headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)
