"""A picture the way up that a camera said it was held, one band of rows at a time.

The file's pixels stay as they lie; only the band that is asked for is turned. Orientations are
EXIF's, 1 to 8. Their tag is looked up here, in place: other parsers read all of EXIF, and complain.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.images.colours import rgb_on_white

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

ORIENTATION = 0x0112  # EXIF's and TIFF's tag
_SHORT = 3  # the type that its value must have
_ENTRY = 12  # bytes of a directory's entry
_FLIPPED_ACROSS = {2, 3, 6, 7}
_FLIPPED_DOWN = {3, 4, 7, 8}
_TRANSPOSED = {5, 6, 7, 8}


def known(orientation: object) -> int:
    """The orientation as 1 to 8; 1, as stored, for whatever else a file says."""
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def inverse(orientation: int) -> int:
    """The orientation that undoes this one."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def exif_orientation(exif: bytes) -> int:
    """The orientation that a block of EXIF states, 1 if it states none that can be read."""
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for index in range(entries):
            place = directory + 2 + index * _ENTRY
            tag, kind, count, value = struct.unpack_from(order + "HHIH", block, place)
            if (tag, kind, count) == (ORIENTATION, _SHORT, 1):
                return known(value)
    except struct.error:  # it is shorter than it says
        return 1
    return 1


@dataclass(frozen=True, slots=True)
class Upright:
    """A decoded picture, seen at an orientation."""

    picture: Image
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as seen."""
        width, height = self.picture.size
        return (height, width) if self.orientation in _TRANSPOSED else (width, height)

    def rows(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """The seen rows from `top` to before `bottom`: (bottom - top, width, 3), RGB on white."""
        width, height = self.size
        if self.orientation in _FLIPPED_DOWN:
            top, bottom = height - bottom, height - top
        if self.orientation in _TRANSPOSED:
            part = rgb_on_white(self.picture.crop((top, 0, bottom, width))).swapaxes(0, 1)
        else:
            part = rgb_on_white(self.picture.crop((0, top, width, bottom)))
        across = -1 if self.orientation in _FLIPPED_ACROSS else 1
        down = -1 if self.orientation in _FLIPPED_DOWN else 1
        return part[::down, ::across]
