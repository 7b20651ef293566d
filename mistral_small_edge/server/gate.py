"""What a request must pass before it is read: a key, a size, a time to arrive in.

Plain ASGI, so that a body is bounded while it comes and not after.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import TYPE_CHECKING

from mistral_small_edge.server.errors import wire_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mistral_small_edge.config import ServerConfig
    from mistral_small_edge.server.metrics import Metrics

_OPEN = ("/health",)  # a load balancer has no key
_REQUEST = "invalid_request_error"


class Gate:
    """Wraps the app: 401 without a key, 413 beyond the size, 408 beyond the time."""

    def __init__(self, app: ASGIApp, config: ServerConfig, metrics: Metrics) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._keys = [key.encode() for key in config.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not self._knows(scope["path"], headers.get(b"authorization", b"")):
            await self._refuse(send, 401, "no API key, or one that is not known", "invalid_api_key")
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._config.max_body:
            await self._refuse_size(send)
            return
        try:
            body = await self._body(receive)
        except TimeoutError:
            await self._refuse(send, 408, "the body did not arrive in time", "timeout")
            return
        if body is None:
            await self._refuse_size(send)
            return
        await self._app(scope, _replay(body, receive), self._counting(send))

    def _knows(self, path: str, authorization: bytes) -> bool:
        if not self._keys or path in _OPEN:
            return True
        scheme, _, given = authorization.partition(b" ")
        # Every key is compared, each in constant time: how long it takes says nothing.
        found = [hmac.compare_digest(given.strip(), key) for key in self._keys]
        return scheme.lower() == b"bearer" and any(found)

    async def _body(self, receive: Receive) -> bytes | None:
        """All of the body; None if it is too large.

        Raises:
            TimeoutError: it did not arrive in time.
        """
        pieces: list[bytes] = []
        size = 0
        async with asyncio.timeout(self._config.body_timeout):
            while True:
                message = await receive()
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > self._config.max_body:
                    return None
                if not message.get("more_body", False):
                    return b"".join(pieces)

    def _counting(self, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.responded(message["status"])
            await send(message)

        return counted

    async def _refuse_size(self, send: Send) -> None:
        limit = self._config.max_body
        await self._refuse(send, 413, f"the body is larger than {limit} bytes", "body_too_large")

    async def _refuse(self, send: Send, status: int, message: str, code: str) -> None:
        body = json.dumps(wire_error(message, _REQUEST, code)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        self._metrics.responded(status)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body in one piece, then whatever else the client does."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
