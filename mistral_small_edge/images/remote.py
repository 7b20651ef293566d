"""A picture from the network, for a client that named its URL: from where, how long, how much.

A server can often reach what its clients cannot, and a URL asks it to go there. So what is
connected to is the very address that was checked, and each redirect is checked as the first URL
was. httpcore2 is used bare, without httpx2's client: no proxy, cookie, password or decoder is there
to be switched off. What a picture is, and what becomes of its bytes, is not known here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpcore2
import httpx2

from mistral_small_edge.errors import UnsupportedImage, readable_size
from mistral_small_edge.images.addresses import (
    Address,
    as_address,
    canonical,
    is_public,
    resolve_host,
)
from mistral_small_edge.images.limits import MAX_BYTES

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

_PORTS = {"http": 80, "https": 443}
_FREE_PORTS = range(1024, 1 << 16)  # below, but for those two, listens what is no web server
_LONGEST_URL = 8192  # characters; signed ones have thousands
_LONGEST_SHOWN = 100  # characters of a URL in a message
_MOST_CONNECTS = 8  # a host may have any number of addresses
_REDIRECTS = {301, 302, 303, 307, 308}
_FAILURES = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    OSError,
    ValueError,  # UnicodeError too: headers that are no text, names that TLS cannot spell
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLimits:
    """How much of the network one picture may take.

    Attributes:
        max_bytes: of the picture as it is sent.
        seconds: for all of it, redirects included. Looking a name up is not cut short: the system's
            resolver has a limit of its own.
        connect_seconds: for each address of a host, and for agreeing on TLS.
        max_redirects: followed; one more is refused.
    """

    max_bytes: int = MAX_BYTES
    seconds: float = 20
    connect_seconds: float = 5
    max_redirects: int = 3


def fetch_image(
    url: str,
    *,
    param: str,
    limits: RemoteLimits = RemoteLimits(),
    is_allowed: Callable[[Address], bool] = is_public,
    resolve: Callable[[str, int], list[str]] = resolve_host,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    """The bytes at an http or https URL, whatever they are; blocks until they are here.

    Args:
        url: as the client wrote it.
        param: the field that it came in.
        limits: bytes, seconds and redirects.
        is_allowed: which addresses may be connected to; every one of a host must be.
        resolve: asked once for a host's name each time it is connected to, never for an address.
        tls: whose certificates are trusted; None takes the system's, or SSL_CERT_FILE.

    Raises:
        UnsupportedImage: nothing can be fetched from there, or too much, or not in time.
    """
    fetch = _Fetch(param, limits, time.monotonic() + limits.seconds, is_allowed, resolve, tls)
    place = first = fetch.place(url)
    for _ in range(limits.max_redirects + 1):
        answer = fetch.ask(place)
        if isinstance(answer, bytes):
            return answer
        place = answer
    raise UnsupportedImage(f"{first} leads on more than {limits.max_redirects} times", param)


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL, taken apart once: the same values are checked, connected to and sent.

    `host` is ASCII; an address is in its one canonical spelling, without brackets.
    """

    url: httpx2.URL
    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.url.scheme] else f"{host}:{self.port}"

    def request(self, connect_seconds: float) -> httpcore2.Request:
        scheme, target = self.url.raw_scheme, self.url.raw_path
        return httpcore2.Request(
            "GET",
            httpcore2.URL(scheme=scheme, host=self.host, port=self.port, target=target),
            headers={
                "Host": self.authority,
                "User-Agent": "mistral-small-edge",
                "Accept": "image/*",
                "Accept-Encoding": "identity",
                "Connection": "close",
            },
            extensions={"timeout": {"connect": connect_seconds}},
        )

    def __str__(self) -> str:
        path = self.url.raw_path.partition(b"?")[0].decode("ascii")
        shown = f"{self.url.scheme}://{self.authority}{path}"
        return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One picture on its way, over however many hosts; `deadline` is of the monotonic clock."""

    param: str
    limits: RemoteLimits
    deadline: float
    is_allowed: Callable[[Address], bool]
    resolve: Callable[[str, int], list[str]]
    tls: ssl.SSLContext | None

    def place(self, text: str, what: str = "the picture's URL") -> _Place:
        if text.partition(":")[0].lower() not in _PORTS:
            raise self._refusal(f"{what} does not begin with http:// or https://")
        if len(text) > _LONGEST_URL:
            raise self._refusal(f"{what} has more than {_LONGEST_URL} characters")
        try:
            url = httpx2.URL(text)
        except (httpx2.InvalidURL, ValueError) as error:
            raise self._refusal(f"{what} cannot be read as one") from error
        host = canonical(url.raw_host.decode("ascii"))
        if host is None:
            raise self._refusal(f"{what} names no host")
        if url.userinfo:
            raise self._refusal(f"{what} holds a name or a password for {host}")
        port = _PORTS[url.scheme] if url.port is None else url.port
        if port not in _PORTS.values() and port not in _FREE_PORTS:
            raise self._refusal(f"{what} names a port of {host} that is not for the web")
        return _Place(url, host, port)

    def ask(self, place: _Place) -> bytes | _Place:
        """What is there, or where it is said to be."""
        backend = _Pinned(self._addresses(place), self.deadline)
        request = place.request(self.limits.connect_seconds)
        try:
            with httpcore2.HTTPConnection(
                request.url.origin, ssl_context=self.tls, network_backend=backend
            ) as connection:
                return self._answer(place, connection.handle_request(request))
        except _FAILURES as error:
            raise self._failure(place) from error

    def _addresses(self, place: _Place) -> list[Address]:
        """All of a host's, if each is allowed.

        A name without any is refused in the same words: whoever asks is not told which names a
        resolver inside knows.
        """
        try:
            literal = as_address(place.host)
            names = [place.host] if literal else self.resolve(place.host, place.port)
        except (OSError, ValueError):
            names = []
        found = [as_address(each) for each in names]
        allowed = [each for each in found if each is not None and self.is_allowed(each)]
        if not found or len(allowed) < len(found):
            raise self._refusal(f"{place.host} has no public address, or not only public ones")
        return allowed

    def _answer(self, place: _Place, response: httpcore2.Response) -> bytes | _Place:
        headers = {name.lower(): value for name, value in response.headers}
        location = headers.get(b"location")
        if response.status in _REDIRECTS and location is not None:
            return self._follow(place, location.decode("utf-8"))
        if response.status != HTTPStatus.OK:
            raise self._refusal(f"{place} answers {response.status}")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise self._refusal(f"{place} sends compressed bytes, and only plain ones are taken")
        if int(headers.get(b"content-length", b"0")) > self.limits.max_bytes:
            raise self._too_large(place)
        return self._body(place, response.iter_stream())

    def _body(self, place: _Place, chunks: Iterable[bytes]) -> bytes:
        body = bytearray()  # not a list of chunks, each of which may be one byte
        for chunk in chunks:
            body += chunk
            if len(body) > self.limits.max_bytes:
                raise self._too_large(place)
        return bytes(body)

    def _follow(self, place: _Place, location: str) -> _Place:
        what = f"the URL that {place} leads to"
        try:
            url = place.url.join(location)
        except (httpx2.InvalidURL, ValueError) as error:
            raise self._refusal(f"{what} cannot be read as one") from error
        following = self.place(str(url), what)
        if place.url.scheme == "https" and url.scheme == "http":
            raise self._refusal(f"{place} leads from https to http")
        return following

    def _failure(self, place: _Place) -> UnsupportedImage:
        """One sentence for whatever goes wrong on the way: nothing is told of a port."""
        if time.monotonic() >= self.deadline:
            return self._refusal(f"{place} was not here within {self.limits.seconds:g} seconds")
        return self._refusal(f"{place} cannot be fetched")

    def _too_large(self, place: _Place) -> UnsupportedImage:
        return self._refusal(f"{place} is larger than {readable_size(self.limits.max_bytes)}")

    def _refusal(self, message: str) -> UnsupportedImage:
        return UnsupportedImage(message, self.param)


class _Pinned(httpcore2.NetworkBackend):
    """Connects to the addresses that were checked, in their order, whatever name is asked for.

    The name stays with the layers above: in the Host header, in TLS and in the certificate's check.
    """

    def __init__(self, addresses: list[Address], deadline: float) -> None:
        self._addresses = addresses[:_MOST_CONNECTS]
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        connect = httpcore2.SyncBackend().connect_tcp
        failure: Exception = httpcore2.ConnectError(host)
        for address in self._addresses:
            left = _left(self._deadline, timeout)
            try:
                stream = connect(str(address), port, left, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Timed(stream, self._deadline)
        raise failure


class _Timed(httpcore2.NetworkStream):
    """Waits until the deadline and no longer, however little comes at a time."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            left = _left(self._deadline, timeout)
        except httpcore2.ReadTimeout:
            self.close()  # nobody else holds it yet
            raise
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _left(deadline: float, timeout: float | None) -> float:
    """Seconds to wait, more than none: at none a socket would not wait, and not time out either."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout
    return left if timeout is None else min(left, timeout)
