"""From whatever colours a file holds to RGB of 8 bits, on white where it is transparent.

The same values as mistral_common's conversion for every picture of 8 bits; deeper grays are scaled
where Pillow would cut them off. Works on any part of a picture, so that the whole need not be held
twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEEP_WHITE = 65_535  # of gray in 16 bits


def why_not(picture: Image.Image) -> str | None:
    """What about a decoded picture's values cannot be shown as colours; None if all can."""
    if picture.mode == "F":
        return "holds decimal numbers, not colours"
    if picture.mode == "I":
        lowest, highest = picture.getextrema()
        # What white is, a file of 32 bits does not say; most are 16 bits in a wider coat.
        if not (_number(lowest) >= 0 and _number(highest) <= _DEEP_WHITE):
            return f"holds values outside of 0 to {_DEEP_WHITE}, not colours"
    return None


def rgb_on_white(part: Image.Image) -> NDArray[np.uint8]:
    """The part's pixels, (height, width, 3)."""
    if part.mode == "I" or part.mode.startswith("I;16"):
        return _from_deep_gray(part)
    if part.mode == "RGB" and "transparency" not in part.info:
        return np.asarray(part)
    seen = part if part.mode == "RGBA" else part.convert("RGBA")
    white = Image.new("RGBA", seen.size, "white")
    white.paste(seen, (0, 0), seen)
    return np.asarray(white)[:, :, :3]


def _from_deep_gray(part: Image.Image) -> NDArray[np.uint8]:
    deep = np.asarray(part).astype(np.uint32)
    gray = ((deep * 255 + _DEEP_WHITE // 2) // _DEEP_WHITE).astype(np.uint8)
    transparent = part.info.get("transparency")
    if isinstance(transparent, int):
        gray[deep == transparent] = 255
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else float("nan")
