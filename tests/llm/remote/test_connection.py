"""What may come over a connection, however broken, is an answer or an error of ours."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from mistral_small_edge.chat.deltas import collect
from mistral_small_edge.errors import (
    EdgeError,
    InvalidRequest,
    ServerFailed,
    ServerUnreachable,
)
from mistral_small_edge.llm.remote.connection import Connection
from mistral_small_edge.llm.remote.stream import RemoteStream

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "text/event-stream"
END = {
    "choices": [],
    "usage": {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
    "timings": {
        "drafted_tokens": 0,
        "accepted_tokens": 0,
        "queue_seconds": 0.0,
        "prompt_seconds": 0.0,
        "decode_seconds": 0.0,
        "image_seconds": 0.0,
    },
}


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def told(text: str) -> bytes:
    return event({"choices": [{"text": text, "finish_reason": None}]})


STOP = event({"choices": [{"text": "", "finish_reason": "stop"}]})
WHOLE = told("Hello") + STOP + event(END) + b"data: [DONE]\n\n"


class Canned(BaseHTTPRequestHandler):
    """Says what it was given to say, and keeps the connection."""

    protocol_version = "HTTP/1.1"
    status = 200
    kind = STREAM
    body = b""
    missing = 0  # bytes fewer than it says
    callers: set[int]  # ports

    def do_POST(self) -> None:
        self.callers.add(self.client_address[1])
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.body) + self.missing))
        self.end_headers()
        self.wfile.write(self.body)
        self.close_connection = self.missing > 0

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        """Say nothing."""


@contextmanager
def saying(body: bytes, **ways: object) -> Iterator[tuple[Connection, set[int]]]:
    """A connection to who says that, and the ports that it was called from."""
    callers: set[int] = set()
    handler = type("Handler", (Canned,), {"body": body, "callers": callers, **ways})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        connection = Connection(f"http://127.0.0.1:{server.server_port}")
        try:
            yield connection, callers
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def stream(connection: Connection) -> RemoteStream:
    return RemoteStream(None, connection.url, connection.post("v1/completions", {}))


def take_all(taken: RemoteStream, arrived: threading.Semaphore) -> None:
    while arrived.acquire():
        taken.take()


@pytest.mark.parametrize(
    "text", ["Grüß", "a\u2028b\u0085c\x0bd\re\nf", "\U0001f600", "", "\N{NULL}"]
)
def test_text_comes_whole(text: str) -> None:
    with saying(b": reading\n\n" + told(text) + STOP + event(END)) as (connection, _):
        assert collect(stream(connection)).text == text


@pytest.mark.parametrize(
    ("body", "ways", "said"),
    [
        (b"", {}, "broke off"),
        (told("Hel"), {}, "broke off"),
        (told("Hel") + STOP, {}, "broke off"),
        (told("Hel"), {"missing": 5}, "the connection broke"),
        (b"data: {\n\n", {}, "no JSON"),
        (b"data: 7\n\n", {}, "no server of this program"),
        (b"data: {}\n\n", {}, "no server of this program"),
        (b"\xff\xfe\n\n", {}, "broke off"),
        (b"{}", {"kind": "application/json"}, "the connection broke"),
        (event({"error": {"message": "it fell"}}), {}, "it fell"),
    ],
)
def test_what_is_no_whole_answer_fails(body: bytes, ways: dict[str, object], said: str) -> None:
    with saying(body, **ways) as (connection, _):
        with pytest.raises(ServerFailed, match=said):
            collect(stream(connection))
        taken = stream(connection)
        arrived = threading.Semaphore(0)
        taken.listen(arrived.release)
        with pytest.raises(ServerFailed, match=said):
            take_all(taken, arrived)
        assert taken.ended
        assert taken.take() == list(taken) == []


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, b"<html>", ServerUnreachable),
        (404, b'{"detail": "Not Found"}', ServerUnreachable),
        (302, b"", ServerUnreachable),
        (500, b'{"error": {"message": "it fell"}}', ServerFailed),
        (500, b'{"error": "it fell"}', ServerUnreachable),
        (413, b'{"error": {"message": "too large", "code": "body_too_large"}}', InvalidRequest),
    ],
)
def test_a_status_without_an_answer_is_an_error(
    status: int, body: bytes, kind: type[EdgeError]
) -> None:
    with saying(body, status=status, kind="x") as (connection, _), pytest.raises(EdgeError) as told:
        connection.post("v1/completions", {})
    assert type(told.value) is kind


def test_what_it_says_of_itself_has_to_be_json() -> None:
    with saying(b"<html>") as (connection, _), pytest.raises(ServerUnreachable):
        connection.get("v1/models")
    with saying(b"{}", missing=3) as (connection, _), pytest.raises(ServerUnreachable):
        connection.get("v1/models")


def test_one_connection_serves_one_answer_after_the_other() -> None:
    with saying(WHOLE) as (connection, callers):
        for _ in range(3):
            with stream(connection) as answer:
                collect(answer)
            for thread in threading.enumerate():
                if thread.name == "answer":  # has the last event still to read
                    thread.join()
    assert len(callers) == 1
