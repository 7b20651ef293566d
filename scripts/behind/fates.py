"""What becomes of a request when a server behind the proxy goes: what its client sees, and no more."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Fate = Literal["answered", "broken off", "lost"]
PATIENCE = 600.0  # seconds without a byte
_DONE = b"data: [DONE]\n\n"


def fate_of(port: int, body: Mapping[str, Any], session: str | None = None) -> Fate:
    """Send a chat completion to a port of loopback, and see.

    `answered`: it came whole, be it streamed or not. `broken off`: it had begun, and its client sees
    that it is not whole. `lost`: nothing of an answer came, or the connection's end is in order and the
    answer's is missing, which few clients look for.
    """
    headers = {"Content-Type": "application/json"}
    if session is not None:
        headers["X-Session-Id"] = session
    begun = False
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
            response = connection.getresponse()
            begun = response.status == 200
            answer = response.read()
        except (OSError, HTTPException):
            return "broken off" if begun else "lost"
    if not begun:
        return "lost"
    whole = answer.endswith(_DONE) if body.get("stream") else "choices" in json.loads(answer)
    return "answered" if whole else "lost"
