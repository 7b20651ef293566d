"""HTTP to one server: JSON there, JSON or events back, and every failure an error of ours.

Nothing but the address that was given is spoken to: redirects are not followed, and no proxy stands
between a program and its own machine.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx2

from mistral_small_edge.errors import (
    EdgeError,
    InvalidRequest,
    ServerFailed,
    ServerUnreachable,
)
from mistral_small_edge.images.addresses import is_loopback
from mistral_small_edge.llm.remote.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.llm.remote.events import Event

CONNECT_SECONDS = 5.0  # also for what the server says of itself
# A server shows every few seconds that it lives, once it has taken a prompt; to take a long one, and to
# open its pictures, is silent work.
SILENT_SECONDS = 120.0
# The server hangs up after 5 s without a request: be gone before, lest one meet the other.
_IDLE_SECONDS = 2.0
_DONE = "[DONE]"


class Connection:
    """A server's address, and what is kept open to it. Any thread may use it.

    Raises:
        InvalidRequest: `url` is no address of a server, or the key cannot be sent.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        base = _base(url)
        self.url = str(base).rstrip("/")
        self._client = httpx2.Client(
            base_url=base,
            headers={} if api_key is None else {b"Authorization": _bearer(api_key)},
            timeout=httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=_IDLE_SECONDS),
            trust_env=not is_loopback(base.host),
        )

    def get(self, path: str) -> Any:
        """The JSON at a path.

        Raises:
            ServerUnreachable: nobody answers, or not with JSON.
            EdgeError: the server says that something is wrong.
        """
        request = self._client.build_request("GET", path, timeout=CONNECT_SECONDS)
        try:
            with closing(self._sent(request)) as response:
                return json.loads(response.read())
        except httpx2.HTTPError as error:
            raise ServerUnreachable(self.url, _trouble(error)) from error
        except ValueError:
            raise ServerUnreachable(self.url, "no server of this program answers there") from None

    def post(self, path: str, body: dict[str, object], session: str | None = None) -> Events:
        """Send a body, and have the answer's events.

        Args:
            session: what proxies before several servers tell conversations apart by.

        Raises:
            ServerError: nobody answers, or the connection broke.
            EdgeError: the server refuses, and says why.
        """
        request = self._client.build_request(
            "POST",
            path,
            # Escapes also what is no Unicode: it is for the server to refuse.
            content=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"}
            | ({} if session is None else {"X-Session-Id": session}),
        )
        with _as_ours(self.url):
            return Events(self.url, self._sent(request))

    def close(self) -> None:
        """Hang up. Idempotent."""
        self._client.close()

    def _sent(self, request: httpx2.Request) -> httpx2.Response:
        response = self._client.send(request, stream=True)
        if response.status_code == HTTPStatus.OK:
            return response
        with closing(response):
            raise self._refusal(response.status_code, response.read())

    def _refusal(self, status: int, body: bytes) -> EdgeError:
        with suppress(ValueError, TypeError, KeyError):
            error = json.loads(body)["error"]
            if isinstance(error, dict):
                return refusal(self.url, error)
        return ServerUnreachable(self.url, f"what answers there says {status}, and no more")


class Events:
    """The events of one response. Read them in one thread; any may hang up."""

    def __init__(self, url: str, response: httpx2.Response) -> None:
        self._url = url
        self._response = response
        self._lock = threading.Lock()
        self._over = False  # and the connection may be another request's

    def __iter__(self) -> Iterator[Event]:
        try:
            with _as_ours(self._url):
                for event in httpx2.EventSource(self._response):
                    if event.data != _DONE:
                        yield json.loads(event.data)
        except ValueError:
            raise ServerFailed(self._url, "it sent what is no JSON") from None
        finally:
            with self._lock:
                self._over = True
                self._response.close()

    def hang_up(self) -> None:
        """Take the connection down, which makes the server give up its answer. Idempotent."""
        with self._lock:
            if not self._over:
                stream = self._response.extensions["network_stream"]
                # To close it alone would leave the reader waiting.
                with suppress(OSError):
                    stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


@contextmanager
def _as_ours(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise ServerUnreachable(url, _trouble(error)) from error
    except httpx2.HTTPError as error:
        raise ServerFailed(url, _trouble(error)) from error


def _trouble(error: httpx2.HTTPError) -> str:
    match error:
        case httpx2.ConnectTimeout() | httpx2.ConnectError() | httpx2.ProxyError():
            return "nobody answers there"
        case httpx2.TimeoutException():
            return "it has gone silent"
        case httpx2.UnsupportedProtocol():
            return "this is no address of a server"
        case _:
            return "the connection broke"


def _base(url: str) -> httpx2.URL:
    """The address without the path that OpenAI's clients are given."""
    with suppress(httpx2.InvalidURL, ValueError):
        found = httpx2.URL(url.strip())
        more = found.query or found.fragment or found.userinfo
        if found.scheme in ("http", "https") and found.host and not more:
            path = found.path.rstrip("/").removesuffix("/v1")
            return found.copy_with(path=path or "/")
    raise InvalidRequest(
        f"{url!r} is no address of a server, which looks like http://127.0.0.1:8080", "url"
    )


def _bearer(api_key: str) -> bytes:
    if not api_key.strip() or not api_key.isprintable():
        raise InvalidRequest(
            "the API key is empty, or has characters that no header has", "api_key"
        )
    return f"Bearer {api_key}".encode()
