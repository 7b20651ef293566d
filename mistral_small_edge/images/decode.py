"""Pictures out of files: bytes or a path in, an Image of whole cells out.

The one place where foreign bytes meet Pillow, and nothing of what Pillow raises or warns of gets
past it. A parser is chosen by how the bytes begin and gets no say in what it is; sizes are checked
before pixels are decoded. Fetches nothing and knows no requests.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from mistral_small_edge.errors import UnsupportedImage, readable_size
from mistral_small_edge.images.colours import why_not
from mistral_small_edge.images.formats import likeness, recognised
from mistral_small_edge.images.geometry import CELL, MIN_TOKENS, cells_within, token_budget
from mistral_small_edge.images.image import Image
from mistral_small_edge.images.limits import (
    MAX_BYTES,
    MAX_FILE_SIDE,
    MAX_FRAMES_COUNTED,
    MAX_PIXELS,
    MAX_SCANS,
)
from mistral_small_edge.images.outline import gif_outline, jpeg_scans, tiff_pages
from mistral_small_edge.images.quiet import hush
from mistral_small_edge.images.resample import resized
from mistral_small_edge.images.upright import (
    ORIENTATION,
    Upright,
    exif_orientation,
    inverse,
    known,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL.ImageFile import ImageFile

    from mistral_small_edge.images.formats import Format
    from mistral_small_edge.images.image import Detail

    Reader = Callable[[BinaryIO], ImageFile]

# The classes themselves, not Image.open: it tries one parser after another, and warns of a picture
# that is large before we can refuse it.
_READERS: dict[Format, Reader] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_PARTS: dict[Format, tuple[str, str]] = {
    "TIFF": ("pages", "first"),
    "HEIF": ("pictures", "main one"),
}
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF's tags


@dataclass(frozen=True, slots=True)
class Opened:
    """An image, and what its file said.

    `width` and `height` are pixels of the whole picture, the way up that it is seen; `image` may
    have fewer. `remarks` are sentences about what the file holds and is not seen.
    """

    image: Image
    width: int
    height: int
    remarks: tuple[str, ...] = ()


def open_image(
    source: bytes | Path,
    *,
    name: str,
    detail: Detail = "auto",
    most_tokens: int | None = None,
    as_stored: bool = False,
    param: str,
) -> Opened:
    """The picture in a file or in its bytes, in the cells that the model will see it in.

    Args:
        source: the encoded bytes, or where they are.
        name: what to call the picture in a message.
        detail: `low` takes at most 272 tokens; the others as many as it has, up to 3080.
        most_tokens: bounds every detail; None is no bound.
        as_stored: leave it the way up that it lies in the file, whatever its EXIF says.
        param: the field that it came in, for errors.

    Raises:
        UnsupportedImage: whatever it is about the file that keeps it from being seen.
    """
    file = _File(name, param)
    if most_tokens is not None and most_tokens < MIN_TOKENS:
        raise file.refused(f"takes at least {MIN_TOKENS} tokens, and {most_tokens} are left for it")
    data = source if isinstance(source, bytes) else _read(source, file)
    kind, reader = _recognised(data, file)
    hush()
    with file.decoding(), reader(BytesIO(data)) as picture:
        _check_size(picture, file)
        seen = _upright(picture, as_stored)
        if reason := why_not(picture):
            raise file.refused(reason)
        columns, rows = cells_within(*seen.size, token_budget(detail, most_tokens))
        size = (columns * CELL, rows * CELL)
        image = Image.of(resized(seen.rows, seen.size, size), *size)
        return Opened(image, *seen.size, _remarks(kind, data, picture, name))


@dataclass(frozen=True, slots=True)
class _File:
    """What to call a file that is refused, and where it came in."""

    name: str
    param: str

    def refused(self, reason: str) -> UnsupportedImage:
        return UnsupportedImage(f"{self.name} {reason}", self.param)

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Whatever is raised inside becomes a refusal."""
        try:
            yield
        except UnsupportedImage:
            raise
        except MemoryError as error:
            raise self.refused("does not fit in memory once it is decoded") from error
        except Exception as error:  # parsers of foreign bytes raise what they like
            raise self.refused(
                "cannot be decoded; it is damaged, cut short or of a rare kind"
            ) from error


def _read(path: Path, file: _File) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise file.refused(f"cannot be read: {error.strerror or error}") from error
    except (ValueError, MemoryError) as error:  # a path with a null in it
        raise file.refused(f"cannot be read: {error}") from error


def _recognised(data: bytes, file: _File) -> tuple[Format, Reader]:
    """What the bytes are, and what reads it; refused before any parser sees them if need be."""
    if not data:
        raise file.refused("is empty")
    if len(data) > MAX_BYTES:
        raise file.refused(f"is larger than {readable_size(MAX_BYTES)}, the most that is read")
    kind = recognised(data)
    readers = _READERS | _heif()
    if kind is None or kind not in readers:
        raise file.refused(f"is {likeness(data)}, not one of {', '.join(readers)}")
    _check_outline(kind, data, file)
    return kind, readers[kind]


def _check_outline(kind: Format, data: bytes, file: _File) -> None:
    """What a parser's own account of the size does not tell."""
    if kind == "GIF":  # whose first frame may be larger than its header says
        outline = gif_outline(data)
        _check_sides(outline.width, outline.height, file)
    if kind == "JPEG" and jpeg_scans(data) > MAX_SCANS:  # hours can be packed into a megabyte
        raise file.refused(f"has more than {MAX_SCANS} scans, the most that are decoded")


def _heif() -> dict[Format, Reader]:
    """The reader of telephones' pictures, where its package is installed.

    The class alone: what the package offers otherwise is to be registered with Pillow for everyone.
    """
    try:
        return {"HEIF": importlib.import_module("pillow_heif").HeifImageFile}
    except ImportError:
        return {}


def _check_size(picture: ImageFile, file: _File) -> None:
    _check_sides(*picture.size, file)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        # A tile may be larger than its picture, and is decoded whole.
        _check_sides(picture.tag_v2.get(_TILE_WIDTH, 1), picture.tag_v2.get(_TILE_LENGTH, 1), file)


def _check_sides(width: int, height: int, file: _File) -> None:
    if max(width, height) > MAX_FILE_SIDE:
        raise file.refused(
            f"is {width}x{height} pixels, and at most {MAX_FILE_SIDE} a side are looked at"
        )
    if width * height > MAX_PIXELS:
        raise file.refused(
            f"is {width}x{height} pixels, and at most {MAX_PIXELS // 10**6} million are looked at"
        )


def _upright(picture: ImageFile, as_stored: bool) -> Upright:
    """The picture, decoded, at the orientation to see it in."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        orientation = known(picture.tag_v2.get(ORIENTATION))
        picture.load()  # which turns it
        return Upright(picture, inverse(orientation) if as_stored else 1)
    picture.load()
    exif = picture.info.get("exif")  # of PNG, only now
    if as_stored or not isinstance(exif, bytes):
        return Upright(picture, 1)
    return Upright(picture, exif_orientation(exif))


def _remarks(kind: Format, data: bytes, picture: ImageFile, name: str) -> tuple[str, ...]:
    count = _num_pictures(kind, data, picture)
    if count <= 1:
        return ()
    many = f"more than {MAX_FRAMES_COUNTED}" if count > MAX_FRAMES_COUNTED else count
    noun, which = _PARTS.get(kind, ("frames", "first"))
    return (f"{name} has {many} {noun}; the {which} is seen",)


def _num_pictures(kind: Format, data: bytes, picture: ImageFile) -> int:
    if kind == "GIF":
        return gif_outline(data).frames
    if kind == "TIFF":
        return tiff_pages(data)
    return getattr(picture, "n_frames", 1)
