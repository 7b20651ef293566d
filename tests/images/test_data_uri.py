"""Data URIs: base64 of an image, in any spelling of it, and nothing else."""

from __future__ import annotations

import base64

import pytest

from mistral_small_edge.errors import UnsupportedImage
from mistral_small_edge.images.data_uri import data_uri_bytes
from mistral_small_edge.images.limits import MAX_BYTES

CONTENT = bytes(range(256)) + b"\xfb\xff\xfe"  # whose base64 has both + and /
BASE64 = base64.b64encode(CONTENT).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{BASE64}",
        f"DATA:IMAGE/PNG;BASE64,{BASE64}",
        f"data:image/svg+xml;charset=utf-8;base64,{BASE64}",
        f"data:image/jpeg; base64,{BASE64}",
        f"data:image/png;base64,{base64.encodebytes(CONTENT).decode()}",
        f"data:image/png;base64, {BASE64[:7]}\r\n\t{BASE64[7:]} \n",
        f"data:image/png;base64,{base64.urlsafe_b64encode(CONTENT).decode()}",
    ],
)
def test_base64_is_read_however_it_is_spelt(uri: str) -> None:
    assert data_uri_bytes(uri, "p") == CONTENT


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "not a data URI"),
        ("data:", "not a data URI"),
        ("data:image/png;base64", "not a data URI"),
        ("http://example.org/a,b", "not a data URI"),
        (BASE64, "not a data URI"),
        ("data:,", "text/plain, not an image"),
        ("data:text/html;base64,aaaa", "text/html, not an image"),
        ("data:;base64,aaaa", "text/plain, not an image"),
        ("data:image;base64,aaaa", "image, not an image"),
        ("data:image/png,%89PNG", "percent-encoded"),
        ("data:image/png;base64;charset=utf-8,aaaa", "percent-encoded"),
        ("data:image/svg+xml;utf8,<svg/>", "percent-encoded"),
        ("data:image/png;base64,aaa", "malformed"),
        ("data:image/png;base64,aaaaa", "malformed"),
        ("data:image/png;base64,aaa=aaaa", "malformed"),
        ("data:image/png;base64,aa%3D%3D", "malformed"),
        ("data:image/png;base64,aaaä", "malformed"),
        ("data:image/png;base64,aaa\ud800", "malformed"),
        ("data:image/png;base64,aaa\0", "malformed"),
    ],
)
def test_anything_else_is_refused_by_what_it_is(uri: str, words: str) -> None:
    with pytest.raises(UnsupportedImage, match=words) as caught:
        data_uri_bytes(uri, "messages[0].content[1]")
    assert caught.value.param == "messages[0].content[1]"


def test_an_empty_payload_is_no_bytes() -> None:
    assert data_uri_bytes("data:image/png;base64,", "p") == b""


def test_the_size_is_checked_before_anything_is_decoded() -> None:
    """The text is no base64 at all; that goes unnoticed."""
    with pytest.raises(UnsupportedImage, match=r"64\.0 MB"):
        data_uri_bytes("data:image/png;base64," + "!" * (MAX_BYTES * 4 // 3 + 8), "p")


def test_a_picture_of_the_largest_size_is_let_through() -> None:
    assert len(data_uri_bytes("data:image/png;base64," + "A" * (MAX_BYTES // 3 * 4), "p")) > 63e6
