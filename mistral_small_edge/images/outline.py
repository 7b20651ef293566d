"""What a file is made of, found by walking its outline: GIF's blocks, TIFF's pages, JPEG's scans.

Only what Pillow would have to decode or to seek through. No pixels are read, and a file that lies
is followed as far as it goes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from mistral_small_edge.images.limits import MAX_FRAMES_COUNTED, MAX_SCANS

# A marker that is neither a stuffed byte of coded data nor a restart in it.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_BARE = {0x01, 0xD8, _JPEG_END}  # markers that no length follows


@dataclass(frozen=True, slots=True)
class GifOutline:
    """`width` and `height` are pixels that hold the first frame too; `frames` may be cut short."""

    width: int
    height: int
    frames: int


def gif_outline(data: bytes) -> GifOutline:
    """A GIF's blocks, walked without decoding. What is cut short counts as far as it goes."""
    width, height = struct.unpack_from("<HH", data.ljust(10, b"\0"), 6)
    at = 13 + _palette_bytes(data[10:11])
    frames = 0
    while frames <= MAX_FRAMES_COUNTED and at < len(data):
        if data[at] == ord("!"):
            at = _after_blocks(data, at + 2)
        elif data[at] == ord(",") and at + 10 <= len(data):
            if frames == 0:
                left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
                width, height = max(width, left + across), max(height, top + down)
            frames += 1
            at = _after_blocks(data, at + 11 + _palette_bytes(data[at + 9 : at + 10]))
        elif data[at] == ord(";"):
            break
        else:
            at += 1  # padding, which readers skip
    return GifOutline(width, height, frames)


def _palette_bytes(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 128 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Behind the blocks that start at `at`: each of a byte and as many as it says, 0 the last."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def tiff_pages(data: bytes) -> int:
    """The directories that a TIFF file chains, each counted once, as far as they can be read."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    count, link, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
    pages: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + link, data, 8 if big else 4)
        while at and at not in pages and len(pages) <= MAX_FRAMES_COUNTED:
            (entries,) = struct.unpack_from(order + count, data, at)
            pages.add(at)
            after = at + struct.calcsize(order + count) + entries * entry
            (at,) = struct.unpack_from(order + link, data, after)
    except (struct.error, OverflowError):
        pass  # a chain that leads out of the file ends there
    return len(pages)


def jpeg_scans(data: bytes) -> int:
    """How often a JPEG goes over its pixels; counting ends beyond MAX_SCANS."""
    scans, at = 0, 0
    while scans <= MAX_SCANS and (marker := _JPEG_MARKER.search(data, at)):
        code, at = marker[1][0], marker.end()
        if code == _JPEG_END:
            break
        if code not in _JPEG_BARE:
            scans += code == _JPEG_SCAN
            at += int.from_bytes(data[at : at + 2], "big")
    return scans
