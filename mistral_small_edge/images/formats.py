"""What kind of file some bytes are, by how they begin.

Only the kinds that Format names are ever handed to a parser; a few others are known so that a
refusal can name them. Reads neither sizes nor pixels.
"""

from __future__ import annotations

from typing import Literal

Format = Literal["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "HEIF"]

_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_OTHERS = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\x01\0", "an icon"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
_OPENING = 1024  # bytes that are looked at for what a text is


def recognised(data: bytes) -> Format | None:
    """The format that the bytes begin as; None if it is none of those that are read."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    brands = _brands(data)
    return "HEIF" if brands & _HEIF_BRANDS and not brands & _AVIF_BRANDS else None


def likeness(data: bytes) -> str:
    """What the bytes look like, for a sentence about a file of no known format."""
    for signature, words in _OTHERS:
        if data.startswith(signature):
            return words
    if brands := _brands(data):
        return _brand_likeness(brands)
    return _text_likeness(data[:_OPENING].lstrip(b"\xef\xbb\xbf \t\r\n").lower())


def _brand_likeness(brands: set[bytes]) -> str:
    if brands & _AVIF_BRANDS:
        return "an AVIF picture"
    return "a HEIC picture" if brands & _HEIF_BRANDS else "a video or sound file"


def _text_likeness(opening: bytes) -> str:
    if opening.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if opening.startswith(b"<") and b"<svg" in opening:
        return "an SVG drawing"
    return "a file of an unknown kind"


def _brands(data: bytes) -> set[bytes]:
    """What an ISO media file calls itself: its main brand and those it is compatible with."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), _OPENING)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
