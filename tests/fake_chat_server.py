"""A server that streams chat completions of words it does not mean, as a process or in a thread.

`python -m tests.fake_chat_server --host 127.0.0.1 --port N` until SIGTERM; for what `scripts/compare`
asks. It counts a prompt's words as its tokens and remembers the prompts it has seen.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Ways:
    """How it answers; what is not said is as it should be.

    Attributes:
        missing: tokens fewer than were asked for.
        ending: what comes in place of the last events.
        remembers: whether it says that a prompt seen before was not read again.
        word: what every token is; they are numbered if it is anything.
    """

    status: int = 200
    missing: int = 0
    ending: bytes | None = None
    remembers: bool = True
    word: str = " word"
    seen: set[str] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[str | None] = field(default_factory=list)


class FakeChatServer(ThreadingHTTPServer):
    """On a free port of loopback, if none is named."""

    def __init__(self, ways: Ways, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.ways = ways


@contextmanager
def fake_chat_server(ways: Ways) -> Iterator[int]:
    """Its port, for as long as the block lasts."""
    with FakeChatServer(ways) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeChatServer

    def do_GET(self) -> None:
        self._send(200, json.dumps({"status": "ready", "data": [{"id": "words"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ways = self.server.ways
        ways.asked.append(body)
        ways.sessions.append(self.headers["X-Session-Id"])
        if ways.status != 200:
            self._send(ways.status, b'{"error": {"message": "not today"}}')
            return
        self._send(200, b"".join(_events(body, ways)), "text/event-stream")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        """Say nothing."""

    def _send(self, status: int, data: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        # In pieces: what is measured has to last a while, and the clock has to see it.
        for line in data.splitlines(keepends=True):
            self.wfile.write(line)


def _events(body: dict[str, Any], ways: Ways) -> Iterator[bytes]:
    tokens = body["max_tokens"] - ways.missing
    prompt = json.dumps(body["messages"])
    count = len(prompt.split())
    cached = count if ways.remembers and prompt in ways.seen else 0
    ways.seen.add(prompt)
    yield _event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
    for number in range(tokens):
        word = f"{ways.word}{number}" if ways.word else ""
        yield _event({"choices": [{"index": 0, "delta": {"content": word}}]})
    if ways.ending is not None:
        yield ways.ending
        return
    yield b": still here\n\n"
    usage = {
        "prompt_tokens": count,
        "completion_tokens": tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    yield _event({"choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


if __name__ == "__main__":
    port = int(sys.argv[sys.argv.index("--port") + 1])
    with FakeChatServer(Ways(missing=int("--short" in sys.argv)), port) as forever:
        forever.serve_forever()
