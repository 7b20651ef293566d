"""Pictures in every format and mode that is read, made here with Pillow."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SIZE = (56, 28)  # pixels: whole cells, so that nothing is resampled
ORIENTATION = 0x0112


def noise(width: int, height: int, channels: int = 3) -> NDArray[np.uint8]:
    """The same values everywhere: remainders of a polynomial."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    values = (7 * x * x + 13 * y * y + 5 * x * y + 31 * c + 3 * x * c) * 37 % 256
    return np.asarray(values, np.uint8)


def deep_noise(width: int, height: int) -> NDArray[np.uint16]:
    both = noise(width, height, 2).astype(np.uint16)
    return both[:, :, 0] * np.uint16(256) + both[:, :, 1]


def picture(mode: str, size: tuple[int, int] = SIZE) -> Image.Image:
    """Noise in a mode of Pillow's."""
    if mode == "I;16":
        return Image.fromarray(deep_noise(*size))
    if mode == "CMYK":
        return Image.merge("CMYK", Image.fromarray(noise(*size, 4)).split())
    return Image.fromarray(noise(*size, 4)).convert(mode)


def encoded(shown: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    shown.save(file, kind, **options)
    return file.getvalue()


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def several(kind: str, mode: str) -> bytes:
    """Four frames, each other than the last."""
    frames = [picture(mode).rotate(90 * turn) for turn in range(4)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


def keyed(kind: str, mode: str, colour: object) -> bytes:
    """One colour of it transparent, the first pixel's if it is there."""
    return encoded(picture(mode), kind, transparency=colour)


def _modes(kind: str, modes: Iterable[str], **options: Any) -> dict[str, bytes]:
    return {f"{kind} {mode}": encoded(picture(mode), kind, **options) for mode in modes}


def _packed(compression: str, mode: str) -> tuple[str, bytes]:
    made = encoded(picture(mode), "TIFF", compression=compression)
    return f"TIFF {mode} {compression}", made


# Whose values the reference's conversion has to agree with.
PICTURES: dict[str, bytes] = {
    **_modes("PNG", ("1", "L", "LA", "P", "RGB", "RGBA")),
    "PNG L tRNS": keyed("PNG", "L", 7),
    "PNG P tRNS": keyed("PNG", "P", 7),
    "PNG P alpha": keyed("PNG", "P", bytes(range(256))),
    **_modes("JPEG", ("L", "RGB", "CMYK")),
    "JPEG progressive": encoded(picture("RGB"), "JPEG", progressive=True),
    "WEBP lossy": encoded(picture("RGBA"), "WEBP", lossless=False),
    "WEBP RGB": encoded(picture("RGB"), "WEBP", lossless=True),
    "WEBP RGBA": encoded(picture("RGBA"), "WEBP", lossless=True, exact=True),
    **_modes("GIF", ("L", "P")),
    "GIF transparent": keyed("GIF", "P", 7),
    "GIF animated": several("GIF", "P"),
    "WEBP animated": several("WEBP", "RGB"),
    "PNG animated": several("PNG", "RGBA"),
    **_modes("BMP", ("1", "L", "P", "RGB", "RGBA")),
    **_modes("TIFF", ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")),
    **dict(
        _packed(compression, "RGB")
        for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")
    ),
    **dict([_packed("group4", "1"), _packed("group3", "1"), _packed("jpeg", "YCbCr")]),
    "TIFF pages": several("TIFF", "RGB"),
}
