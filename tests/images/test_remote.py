"""Pictures fetched by URL: from public addresses only, and no more nor longer than is granted.

The sites are on loopback, where the tests allow 127.0.0.1 and nothing else, unless they are about
the real rule. No name is looked up: a table says where names lead.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.errors import UnsupportedImage
from mistral_small_edge.images.addresses import Address, is_loopback, is_public, resolve_host
from mistral_small_edge.images.remote import RemoteLimits, fetch_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

PARAM = "messages[0].content[1].image_url.url"
HOME = "127.0.0.1"
INSIDE = "10.11.12.13"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300
PATIENCE = 20.0  # seconds; only a broken program takes that long
BRIEFLY = RemoteLimits(seconds=0.15)

# Made for these tests, valid from 2020 to 2120 for pictures.test.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBfjCCASOgAwIBAgIBATAKBggqhkjOPQQDAjAYMRYwFAYDVQQDDA1waWN0dXJl
cy50ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAYMRYwFAYD
VQQDDA1waWN0dXJlcy50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAERRgA
F3kLR43Y+Tkl/I4/iaahmYdqyEJ9rUClZfAgIlrlX4o/99uIUNTMuLo5oklmFbDG
mcS4V7ZhfOYmyqIU9qNcMFowHQYDVR0OBBYEFOzKHGyhXm0Aria4YZxXGN2/Qmwi
MBgGA1UdEQQRMA+CDXBpY3R1cmVzLnRlc3QwDwYDVR0TAQH/BAUwAwEB/zAOBgNV
HQ8BAf8EBAMCAoQwCgYIKoZIzj0EAwIDSQAwRgIhAJy8rEXeNDSTQpzKvzbznzml
trP7NzqJ24Uk2pz2OvEgAiEArh3ldPIrOEQ3K54LfCqyLKwFKxIKUqRkQ5NjWG45
VZc=
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVHjnqt6ST7BgQpFY
SJOgaZVTbwu1uM/bn8DfwOwN1UChRANCAARFGAAXeQtHjdj5OSX8jj+JpqGZh2rI
Qn2tQKVl8CAiWuVfij/324hQ1My4ujmiSWYVsMaZxLhXtmF85ibKohT2
-----END PRIVATE KEY-----
"""

Page = bytes | Callable[["Site", socket.socket], None]


@dataclass
class Site:
    """Use as a context manager; it reads one request per connection, answers and hangs up.

    Attributes:
        pages: by path; bytes as they go over the line, or what is done with the connection.
        tls: a server's context, if it speaks TLS.
        asked: heads of requests, as they came.
    """

    pages: dict[str, Page] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.closing = threading.Event()
        self._server = _Server((HOME, 0), _Visit)
        self._server.site = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/a.png", host: str = "pictures.test") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


class _Server(ThreadingTCPServer):
    daemon_threads = False  # closing the server waits for the visits under way
    site: Site

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


class _Visit(BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        site = self.server.site
        if site.tls is None:
            self._answer(site, self.request)
        else:
            with site.tls.wrap_socket(self.request, server_side=True) as secured:
                self._answer(site, secured)

    def _answer(self, site: Site, line: socket.socket) -> None:
        line.settimeout(PATIENCE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            received = line.recv(1 << 16)
            if not received:
                return
            head += received
        site.asked.append(head.decode())
        page = site.pages[head.split(b" ")[1].decode()]
        if isinstance(page, bytes):
            line.sendall(page)
        else:
            page(site, line)


class Names:
    """Where names lead: what the table says, the next answer at each look-up, or else home."""

    def __init__(self, table: dict[str, list[list[str]]] | None = None) -> None:
        self.asked: list[str] = []
        self._table = {name: iter(answers) for name, answers in (table or {}).items()}

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return next(self._table[host]) if host in self._table else [HOME]


def answer(body: bytes = PICTURE, status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def moved(location: str, status: str = "302 Found") -> bytes:
    return answer(b"elsewhere", status, Location=location, Set_Cookie="a=b")


def drip(start: bytes) -> Page:
    """An answer that begins like this and goes on a byte at a time."""

    def page(site: Site, line: socket.socket) -> None:
        line.sendall(start)
        while not site.closing.wait(0.01):
            line.sendall(b"x")

    return page


def flood(start: bytes, block: bytes) -> Page:
    """An answer that never ends, as fast as it is taken."""

    def page(site: Site, line: socket.socket) -> None:
        line.sendall(start)
        while not site.closing.is_set():
            line.sendall(block)

    return page


def silence(site: Site, line: socket.socket) -> None:
    site.closing.wait(PATIENCE)


def is_home(address: Address) -> bool:
    return str(address) in (HOME, "::1")


def fetch(
    url: str,
    *,
    limits: RemoteLimits | None = None,
    names: Callable[[str, int], list[str]] | None = None,
    is_allowed: Callable[[Address], bool] = is_home,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    return fetch_image(
        url,
        param=PARAM,
        limits=limits or RemoteLimits(),
        is_allowed=is_allowed,
        resolve=names or Names(),
        tls=tls,
    )


def refusal(url: str, **options: object) -> str:
    """What the client is told."""
    with pytest.raises(UnsupportedImage) as caught:
        fetch(url, **options)  # type: ignore[arg-type] # as fetch() takes them
    assert caught.value.param == PARAM
    return str(caught.value)


def not_public(host: str) -> str:
    """The one sentence about whatever may not be connected to."""
    return f"{host} has no public address, or not only public ones"


def no_names(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} was looked up")


@pytest.fixture
def site() -> Iterator[Site]:
    with Site({"/a.png": answer()}) as site:
        yield site


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Site]:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(CERTIFICATE, encoding="ascii")
    key.write_text(KEY, encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with Site({"/a.png": answer()}, context) as site:
        yield site


@pytest.fixture
def trust() -> ssl.SSLContext:
    """A client's context that takes the secure site's certificate, for the name that is in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CERTIFICATE)
    return context


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.1",
        "223.255.255.254",
        "2606:4700:4700::1111",
        "2001:200::1",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ],
)
def test_these_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",  # Alibaba's metadata
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",  # Azure's
        "169.254.169.254",  # nearly everybody's
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.9",
        "192.0.0.192",  # Oracle's
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo, around 10.0.0.1
        "2001:2::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:a00:1::",  # 6to4, around 10.0.0.1
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",  # Amazon's
        "fd20:ce::254",  # Google's
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_these_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("spelling", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0x7f.0.0.0x1", "127.0.0.1"),
        ("0177.1", "127.0.0.1"),
        ("127\u30020\u30020\uff0e1", "127.0.0.1"),  # other scripts' full stops
        ("0", "0.0.0.0"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("169.254.43518", "169.254.169.254"),
        ("100.100.100.200", "100.100.100.200"),
        ("[::]", "::"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[fd00:ec2::254]", "fd00:ec2::254"),
        ("[fe80::1]", "fe80::1"),
        ("[64:ff9b::10.0.0.1]", "64:ff9b::a00:1"),
        ("[2002:7f00:1::]", "2002:7f00:1::"),
        ("[2001:0:4136:e378:8000:63bf:f5ff:fffe]", "2001:0:4136:e378:8000:63bf:f5ff:fffe"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "HTTPS"])
def test_a_private_address_is_refused_however_it_is_spelt(
    scheme: str, spelling: str, host: str
) -> None:
    url = f"{scheme}://{spelling}:8080/a.png"
    assert refusal(url, names=no_names, is_allowed=is_public) == not_public(host)


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254"])
@pytest.mark.parametrize("prefix", ["::ffff:", "::", "::ffff:0:", "64:ff9b::", "64:ff9b:1::"])
def test_an_address_is_refused_inside_another(prefix: str, inner: str) -> None:
    told = refusal(f"http://[{prefix}{inner}]/", names=no_names, is_allowed=is_public)
    assert told == not_public(str(ip_address(prefix + inner)))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/a.png",
        "//pictures.test/a.png",
        "pictures.test/a.png",
        " http://pictures.test/",
        "file:///etc/passwd",
        "file://pictures.test/etc/passwd",
        "ftp://pictures.test/a.png",
        "gopher://pictures.test:6379/_INFO",
        "data:image/png;base64,iVBORw0KGgo=",
        "javascript:alert(1)",
        "https+unix://pictures.test/",
        "jar:http://pictures.test/a",
    ],
)
def test_other_schemes_are_refused(url: str) -> None:
    told = refusal(url, names=no_names)
    assert told == "the picture's URL does not begin with http:// or https://"


@pytest.mark.parametrize(
    "url",
    [
        "http:",
        "http://",
        "http:///a.png",
        "http://:8080/",
        "http://?a",
        "http://.",
        "http:pictures.test",
        "http:/pictures.test/a.png",
        "http://pictures..test/",
        "http://.pictures.test/",
        "http://pictures.test../",
        "http://pictures test/",
        "http://pictures%2etest/",
        "http://%31%32%37.0.0.1/",
        "http://pictures.test\\.other.test/",
        "http://a,b/",
        f"http://{'a' * 64}.test/",
        f"http://{'a.' * 130}test/",
        "http://1.2.3.4.5/",
        "http://4294967296/",
        "http://0x/",
        "http://1.08/",
        "http://[fe80::1%25eth0]/",
        "http://[2606:4700::1%25lo]/",
    ],
)
def test_what_is_no_host_is_refused(url: str) -> None:
    assert refusal(url, names=no_names) == "the picture's URL names no host"


@pytest.mark.parametrize(
    "url",
    [
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://256.0.0.1/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[]/",
        "http://[1.2.3.4]/",
        "http://pictures.test:port/",
        "http://pictures.test:8080:80/",
        f"http://pictures.test:{'9' * 5000}/",
        "http://pictures.test/\r\nHost: inside.test",
        "http://pictures.test/\ta",
        "http://pictures.test\x00.other.test/",
        "http://pictures.test/\x7f",
        "http://pictures.test/\ud800",
        "http://\ud800.test/",
        "http://\u2460\u2461\u2466.0.0.1/",  # digits in circles
        "http://\uff11\uff12\uff17.0.0.1/",  # digits as wide as ideographs
        "http://-\u00e9.test/",
    ],
)
def test_what_cannot_be_read_is_refused(url: str) -> None:
    assert refusal(url, names=no_names) == "the picture's URL cannot be read as one"


@pytest.mark.parametrize(
    "authority",
    [
        "me@pictures.test",
        "me:secret@pictures.test",
        ":secret@pictures.test",
        ":@pictures.test",
        "127.0.0.1:80@pictures.test",
        "inside.test\\@pictures.test",
        "a@b@pictures.test",
    ],
)
def test_names_and_passwords_are_refused_and_not_repeated(authority: str) -> None:
    told = refusal(f"http://{authority}/", names=no_names)
    assert told == "the picture's URL holds a name or a password for pictures.test"


@pytest.mark.parametrize("port", [-1, 0, 22, 25, 81, 445, 1023, 65536, 10**9])
def test_ports_that_are_not_for_the_web_are_refused(port: int) -> None:
    told = refusal(f"http://pictures.test:{port}/", names=no_names)
    assert told == "the picture's URL names a port of pictures.test that is not for the web"


@pytest.mark.parametrize("length", [8193, 100_000])
def test_a_long_url_is_refused(length: int) -> None:
    url = "http://pictures.test/".ljust(length, "a")
    assert refusal(url, names=no_names) == "the picture's URL has more than 8192 characters"


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("\u0430\u0440\u0440\u04cf\u0435.test", "xn--80ak6aa92e.test"),  # Cyrillic, like Latin
        ("b\u00fccher.test", "xn--bcher-kva.test"),
        ("XN--BCHER-KVA.test", "xn--bcher-kva.test"),
        ("xn--a.test", "xn--a.test"),
        ("PICTURES.test.", "pictures.test"),
        ("my_bucket.test", "my_bucket.test"),
    ],
)
def test_names_of_any_script_are_looked_up_in_ascii(host: str, asked: str) -> None:
    names = Names({asked: [[]]})
    assert refusal(f"http://{host}/", names=names) == not_public(asked)
    assert names.asked == [asked]


@settings(deadline=None)
@given(st.sampled_from(["", "http://", "https://", "http://["]), st.text())
def test_whatever_is_written_is_refused_in_words(start: str, rest: str) -> None:
    told = refusal(start + rest, names=lambda host, port: [])
    assert told.isprintable()
    assert len(told) < 400


@pytest.mark.parametrize(
    "addresses",
    [
        [],
        [INSIDE],
        [HOME, INSIDE],
        [INSIDE, HOME],
        [HOME, "::ffff:10.11.12.13"],
        [HOME, "fe80::1%eth0"],
        [HOME, "no address"],
        [HOME, ""],
    ],
)
def test_a_name_must_lead_to_allowed_addresses_only(site: Site, addresses: list[str]) -> None:
    told = refusal(site.url(), names=Names({"pictures.test": [addresses]}))
    assert told == not_public("pictures.test")
    assert site.asked == []


@pytest.mark.parametrize("error", [socket.gaierror(-2, INSIDE), UnicodeError(INSIDE)])
def test_a_name_that_leads_nowhere_is_refused_in_the_same_words(error: Exception) -> None:
    def lost(host: str, port: int) -> list[str]:
        raise error

    assert refusal("http://pictures.test/", names=lost) == not_public("pictures.test")


def test_what_a_name_leads_to_later_does_not_matter(site: Site) -> None:
    names = Names({"pictures.test": [[HOME], [INSIDE]]})
    assert fetch(site.url(), names=names) == PICTURE
    assert names.asked == ["pictures.test"]


def test_a_name_that_has_turned_private_is_refused_at_the_next_redirect(site: Site) -> None:
    site.pages["/old"] = moved("/a.png")
    names = Names({"pictures.test": [[HOME], [INSIDE]]})
    assert refusal(site.url("/old"), names=names) == not_public("pictures.test")
    assert len(site.asked) == 1


def test_the_next_address_is_tried(site: Site) -> None:
    assert fetch(site.url(), names=Names({"pictures.test": [["::1", HOME]]})) == PICTURE


def test_not_every_address_is_tried(site: Site) -> None:
    names = Names({"pictures.test": [["::1"] * 8 + [HOME]]})
    assert refusal(site.url(), names=names) == f"{site.url()} cannot be fetched"


@pytest.mark.parametrize("host", [HOME, "localhost", "2130706433"])
def test_by_default_loopback_is_refused(site: Site, host: str) -> None:
    with pytest.raises(UnsupportedImage, match="has no public address, or not only public ones"):
        fetch_image(site.url(host=host), param=PARAM)
    assert site.asked == []


def test_the_system_knows_addresses() -> None:
    assert resolve_host(HOME, 80) == [HOME]


def test_the_bytes_are_those_of_the_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.pages["/a%20b.png?size=2"] = answer()
    assert fetch(site.url("/x/../a b.png?size=2#part")) == PICTURE
    assert site.asked == [
        "GET /a%20b.png?size=2 HTTP/1.1\r\n"
        f"Host: pictures.test:{site.port}\r\n"
        "User-Agent: mistral-small-edge\r\n"
        "Accept: image/*\r\n"
        "Accept-Encoding: identity\r\n"
        "Connection: close\r\n\r\n"
    ]


@pytest.mark.parametrize("host", [HOME, "127.1", "0x7f000001", "[::ffff:127.0.0.1]"])
def test_an_address_is_connected_to_without_a_look_up(site: Site, host: str) -> None:
    assert fetch(site.url(host=host), names=no_names, is_allowed=lambda address: True) == PICTURE


@pytest.mark.parametrize(
    "page",
    [
        answer(Content_Encoding="identity"),
        answer(Content_Type="text/html"),
        b"HTTP/1.0 200 OK\r\n\r\n" + PICTURE,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(PICTURE), PICTURE),
    ],
)
def test_a_body_may_be_framed_in_any_way(site: Site, page: bytes) -> None:
    site.pages["/a.png"] = page
    assert fetch(site.url()) == PICTURE


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("404 Not Found", "answers 404"),
        ("500 Oh", "answers 500"),
        ("204 None", "answers 204"),
        ("206 Partial Content", "answers 206"),
        ("304 Not Modified", "answers 304"),
        ("302 Found", "answers 302"),
        ("101 Switching Protocols", "cannot be fetched"),
    ],
)
def test_any_other_answer_is_refused(site: Site, status: str, told: str) -> None:
    site.pages["/a.png?key=secret"] = answer(b"", status)
    assert refusal(site.url("/a.png?key=secret")) == f"{site.url()} {told}"


def test_a_long_url_is_shown_in_part(site: Site) -> None:
    path = "/" + "a" * 500
    site.pages[path] = answer(b"", "404 Not Found")
    assert refusal(site.url(path)) == f"{site.url(path)[:100]}… answers 404"


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"+PONG\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: few\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 302 Found\r\nLocation: /\xff\r\n\r\n",
        answer()[:-1],
    ],
)
def test_a_broken_answer_is_refused_in_one_sentence(site: Site, page: bytes) -> None:
    site.pages["/a.png"] = page
    assert refusal(site.url()) == f"{site.url()} cannot be fetched"


def test_a_port_where_nobody_listens_is_refused_in_the_same_sentence() -> None:
    with socket.socket() as bound:
        bound.bind((HOME, 0))
        url = f"http://pictures.test:{bound.getsockname()[1]}/a.png"
        assert refusal(url) == f"{url} cannot be fetched"


@pytest.mark.parametrize(
    ("status", "location"),
    [
        ("301 Moved Permanently", "/a.png"),
        ("302 Found", "../a.png#part"),
        ("303 See Other", "//other.test:{port}/a.png"),
        ("307 Temporary Redirect", "HTTP://other.test:{port}/a.png"),
        ("308 Permanent Redirect", "http://127.0.0.1:{port}/a.png"),
    ],
)
def test_a_redirect_is_followed(site: Site, status: str, location: str) -> None:
    site.pages["/old/one"] = moved(location.format(port=site.port), status)
    assert fetch(site.url("/old/one")) == PICTURE
    assert "cookie" not in site.asked[1].lower()
    assert "referer" not in site.asked[1].lower()


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_redirects_are_followed_so_many_times(site: Site, limit: int) -> None:
    limits = RemoteLimits(max_redirects=limit)
    for step in range(limit + 1):
        site.pages[f"/{step}"] = moved(f"/{step - 1}" if step else "/a.png")
    if limit:
        assert fetch(site.url(f"/{limit - 1}"), limits=limits) == PICTURE
    told = f"{site.url(f'/{limit}')} leads on more than {limit} times"
    assert refusal(site.url(f"/{limit}"), limits=limits) == told


def test_a_circle_is_left_after_three_redirects(site: Site) -> None:
    site.pages["/a.png"] = moved("")
    assert refusal(site.url()) == f"{site.url()} leads on more than 3 times"
    assert len(site.asked) == 4


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://10.11.12.13/a.png", not_public(INSIDE)),
        ("//168496141/", not_public(INSIDE)),
        ("http://inside.test/latest/meta-data", not_public("inside.test")),
        ("file:///etc/passwd", "{what} does not begin with http:// or https://"),
        ("gopher://127.0.0.1:6379/_INFO", "{what} does not begin with http:// or https://"),
        ("data:image/png;base64,iVBORw0KGgo=", "{what} does not begin with http:// or https://"),
        ("http://me:secret@other.test/", "{what} holds a name or a password for other.test"),
        ("http://other.test:25/", "{what} names a port of other.test that is not for the web"),
        ("http://other..test/", "{what} names no host"),
        ("http://[::1/", "{what} cannot be read as one"),
        ("/" + "a" * 9000, "{what} has more than 8192 characters"),
    ],
)
def test_a_redirect_is_checked_as_the_url_was(site: Site, location: str, told: str) -> None:
    site.pages["/old"] = moved(location)
    names = Names({"inside.test": [[INSIDE]]})
    what = f"the URL that {site.url('/old')} leads to"
    assert refusal(site.url("/old"), names=names) == told.format(what=what)
    assert len(site.asked) == 1


def test_a_picture_may_be_as_large_as_the_limit(site: Site) -> None:
    limit = len(PICTURE)
    assert fetch(site.url(), limits=RemoteLimits(max_bytes=limit)) == PICTURE
    told = refusal(site.url(), limits=RemoteLimits(max_bytes=limit - 1))
    assert told == f"{site.url()} is larger than 76.8 kB"


@pytest.mark.parametrize(
    "page",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 64000001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ],
)
def test_a_length_is_believed_when_it_is_too_much(site: Site, page: bytes) -> None:
    site.pages["/a.png"] = page
    assert refusal(site.url()) == f"{site.url()} is larger than 64.0 MB"


@pytest.mark.parametrize(
    ("framing", "block"),
    [
        (b"\r\n", b"x" * 1000),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
    ],
)
def test_without_a_length_bytes_are_counted(site: Site, framing: bytes, block: bytes) -> None:
    site.pages["/a.png"] = flood(b"HTTP/1.1 200 OK\r\n" + framing, block)
    told = refusal(site.url(), limits=RemoteLimits(max_bytes=20_000))
    assert told == f"{site.url()} is larger than 20.0 kB"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, gzip", "br", "unheard-of"])
def test_compressed_bytes_are_not_taken(site: Site, encoding: str) -> None:
    site.pages["/a.png"] = answer(gzip.compress(bytes(10**6)), Content_Encoding=encoding)
    told = refusal(site.url())
    assert told == f"{site.url()} sends compressed bytes, and only plain ones are taken"


@pytest.mark.parametrize(
    "page",
    [
        silence,
        drip(b""),
        drip(b"HTTP/1.1 200 OK\r\nX: "),
        drip(b"HTTP/1.1 200 OK\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000;"),
        flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_time_runs_out_however_little_comes_at_a_time(site: Site, page: Page) -> None:
    site.pages["/a.png"] = page
    begun = time.monotonic()
    told = refusal(site.url(), limits=BRIEFLY)
    assert told == f"{site.url()} was not here within 0.15 seconds"
    assert time.monotonic() - begun < PATIENCE / 2  # it was cut short, not waited for


def test_time_runs_on_across_redirects(site: Site) -> None:
    site.pages["/old"] = moved("/a.png")
    site.pages["/a.png"] = silence
    told = refusal(site.url("/old"), limits=RemoteLimits(seconds=0.5))
    assert told == f"{site.url()} was not here within 0.5 seconds"


def test_nothing_is_asked_when_time_is_over(site: Site) -> None:
    told = refusal(site.url(), limits=RemoteLimits(seconds=0))
    assert told == f"{site.url()} was not here within 0 seconds"
    assert site.asked == []


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (BRIEFLY, "was not here within 0.15 seconds"),
        (RemoteLimits(connect_seconds=0.2), "cannot be fetched"),
    ],
)
def test_agreeing_on_tls_has_its_time(
    site: Site, trust: ssl.SSLContext, limits: RemoteLimits, told: str
) -> None:
    url = site.url().replace("http:", "https:")
    assert refusal(url, limits=limits, tls=trust) == f"{url} {told}"


def test_tls_is_spoken_with_the_name_not_the_address(secure: Site, trust: ssl.SSLContext) -> None:
    named: list[str | None] = []
    assert secure.tls is not None
    secure.tls.sni_callback = lambda line, name, context: named.append(name)
    assert fetch(secure.url(host="PICTURES.test."), tls=trust) == PICTURE
    assert named == ["pictures.test"]
    assert f"\r\nHost: pictures.test:{secure.port}\r\n" in secure.asked[0]


@pytest.mark.parametrize("host", ["other.test", HOME])
def test_a_certificate_must_be_for_the_name(secure: Site, trust: ssl.SSLContext, host: str) -> None:
    url = secure.url(host=host)
    assert refusal(url, tls=trust) == f"{url} cannot be fetched"
    assert secure.asked == []


def test_a_certificate_must_be_trusted(secure: Site) -> None:
    assert refusal(secure.url()) == f"{secure.url()} cannot be fetched"
    assert secure.asked == []


def test_a_redirect_does_not_leave_tls(secure: Site, site: Site, trust: ssl.SSLContext) -> None:
    secure.pages["/old"] = moved(site.url())
    told = refusal(secure.url("/old"), tls=trust)
    assert told == f"{secure.url('/old')} leads from https to http"
    assert site.asked == []


def test_a_redirect_may_lead_to_tls(secure: Site, site: Site, trust: ssl.SSLContext) -> None:
    site.pages["/old"] = moved(secure.url())
    assert fetch(site.url("/old"), tls=trust) == PICTURE


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("0.0.0.0", False), ("box", False)],
)
def test_only_this_machine_reaches_its_own_addresses(host: str, here: bool) -> None:
    assert is_loopback(host) == here
