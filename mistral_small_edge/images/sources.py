"""What a Python program may call a picture, and the one that is meant."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image as PillowImage

from mistral_small_edge.images.data_uri import data_uri_bytes
from mistral_small_edge.images.decode import open_image
from mistral_small_edge.images.image import Image

if TYPE_CHECKING:
    from mistral_small_edge.images.image import Detail

PictureSource = str | Path | bytes | PillowImage | Image


def image_from(
    source: PictureSource,
    *,
    detail: Detail = "auto",
    most_tokens: int | None = None,
    as_stored: bool = False,
    param: str = "images",
) -> Image:
    """A picture as the model is shown it.

    Args:
        source: a path, a data URI, an encoded file's bytes, Pillow's picture, or one that this
            function has returned, which is as it is. Addresses on other machines are not followed.
        detail, most_tokens, as_stored: see `decode.open_image`.
        param: the field that it came in, for errors.

    Raises:
        UnsupportedImage: it cannot be had or looked at.
    """
    if isinstance(source, Image):
        return source
    data: bytes | Path
    match source:
        case PillowImage():
            data, name = _encoded(source), "the picture"
        case bytes():
            data, name = source, "the picture"
        case str() if source[:5].lower() == "data:":
            data, name = data_uri_bytes(source, param), "the picture"
        case _:
            data = Path(source).expanduser()
            name = data.name
    return open_image(
        data, name=name, detail=detail, most_tokens=most_tokens, as_stored=as_stored, param=param
    ).image


def _encoded(picture: PillowImage) -> bytes:
    """Without loss, so that it takes the way of every other picture."""
    buffer = BytesIO()
    kept = picture if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else None
    (kept or picture.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
