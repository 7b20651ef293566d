"""Server-sent events: JSON objects as they come, and a sign of life when none does.

A prompt can take minutes to be read. Comments, which clients skip, keep them and the proxies between
from giving up.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import ExitStack

    from starlette.types import Receive, Scope, Send

    from mistral_small_edge.server.wire_answer import JSONObject

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
DONE = b"data: [DONE]\n\n"
_ALIVE = b": reading\n\n"


def event(value: JSONObject) -> bytes:
    """One object as an event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


async def with_heartbeats(events: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The events, and a comment whenever none came for `seconds`."""
    coming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait([coming], timeout=seconds)
            if not done:
                yield _ALIVE
                continue
            found = coming.result()
            if found is None:
                return
            yield found
            coming = asyncio.ensure_future(anext(events, None))
    finally:
        coming.cancel()


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
