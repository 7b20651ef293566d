"""Every format and mode that is read, with the colours that the reference's conversion gives."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from mistral_common.tokens.tokenizers.image import _convert_to_rgb
from PIL import Image, PngImagePlugin

from mistral_small_edge.errors import UnsupportedImage
from mistral_small_edge.images.decode import open_image
from tests.images.pictures import (
    PICTURES,
    SIZE,
    deep_noise,
    encoded,
    keyed,
    noise,
    oriented,
    picture,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mistral_small_edge.images.decode import Opened
    from mistral_small_edge.images.image import Detail

ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def pixels(opened: Opened) -> NDArray[np.uint8]:
    image = opened.image
    return np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width, 3)


@pytest.mark.parametrize("key", PICTURES)
def test_the_values_are_the_references(key: str) -> None:
    opened = open_image(PICTURES[key], name=key, param="p")
    expected = np.asarray(_convert_to_rgb(Image.open(BytesIO(PICTURES[key]))))
    assert (opened.width, opened.height) == SIZE
    assert (pixels(opened) == expected).all()


def test_a_path_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURES["PNG RGB"])
    opened = open_image(tmp_path / "a.png", name="a.png", param="p")
    assert opened == open_image(PICTURES["PNG RGB"], name="a.png", param="p")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_gray_is_scaled(kind: str) -> None:
    opened = open_image(encoded(picture("I;16"), kind), name="x", param="p")
    expected = np.rint(deep_noise(*SIZE) / 257)
    assert (pixels(opened) == expected[:, :, np.newaxis]).all()


def test_a_transparent_deep_gray_is_white() -> None:
    deep = deep_noise(*SIZE)
    opened = open_image(keyed("PNG", "I;16", int(deep[3, 4])), name="x", param="p")
    expected = np.where(deep == deep[3, 4], 255, np.rint(deep / 257))
    assert (pixels(opened)[:, :, 0] == expected).all()


def test_a_transparent_colour_is_white() -> None:
    """Here the reference looks away: it takes any RGB as it is."""
    shown = noise(*SIZE)
    colour = tuple(int(value) for value in shown[3, 4])
    data = encoded(Image.fromarray(shown), "PNG", transparency=colour)
    gone = (shown == shown[3, 4]).all(axis=2, keepdims=True)
    assert (pixels(open_image(data, name="x", param="p")) == np.where(gone, 255, shown)).all()


def test_wide_gray_of_few_bits_is_scaled_like_deep_gray() -> None:
    deep = deep_noise(*SIZE)
    data = encoded(Image.fromarray(deep.astype(np.int32)), "TIFF")
    opened = open_image(data, name="x", param="p")
    assert (pixels(opened)[:, :, 0] == np.rint(deep / 257)).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((28, 28), 65_536, np.int32), "outside of 0 to 65535"),
        (np.full((28, 28), -1, np.int32), "outside of 0 to 65535"),
        (np.full((28, 28), 0.5, np.float32), "decimal numbers"),
        (np.full((28, 28), np.nan, np.float32), "decimal numbers"),
    ],
)
def test_values_that_are_no_colours_are_refused(values: NDArray[np.generic], words: str) -> None:
    with pytest.raises(UnsupportedImage, match=rf"^x\.tif holds .*{words}"):
        open_image(encoded(Image.fromarray(values), "TIFF"), name="x.tif", param="p")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_a_picture_is_seen_the_way_up_it_was_taken(kind: str, orientation: int) -> None:
    """Its pixels are those of the picture turned before it was stored, resampled or not."""
    options = {"lossless": True} if kind == "WEBP" else {}
    for size in ((56, 28), (41, 30), (1600, 40)):
        stored = Image.fromarray(noise(*size))
        data = encoded(stored, kind, exif=oriented(orientation), **options)
        lying = open_image(data, name="x", as_stored=True, param="p")
        upright = open_image(data, name="x", param="p")
        decoded = Image.open(BytesIO(encoded(stored, kind, **options))).convert("RGB")
        assert lying == open_image(encoded(decoded, "PNG"), name="x", param="p")
        turned = decoded.transpose(ORIENTATIONS[orientation]) if orientation > 1 else decoded
        assert upright == open_image(encoded(turned, "PNG"), name="x", param="p")
        assert (upright.width, upright.height) == turned.size


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_can_be_turned(mode: str) -> None:
    shown = picture(mode, (41, 30))
    turned = shown.transpose(Image.Transpose.ROTATE_270)
    data = encoded(shown, "PNG", exif=oriented(6))
    expected = open_image(encoded(turned, "PNG"), name="x", param="p")
    assert open_image(data, name="x", param="p") == expected


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\4\0\1\0\0\0\6\0\0\0",
        b"Exif\0\0XX*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0",
        bytes(range(200)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_exif_that_makes_no_sense_turns_nothing(kind: str, exif: bytes) -> None:
    shown = picture("RGB", (41, 30))
    plain = open_image(encoded(shown, kind), name="x", param="p")
    assert open_image(encoded(shown, kind, exif=exif), name="x", param="p") == plain


@pytest.mark.parametrize(
    ("detail", "most", "cells"),
    [
        ("high", None, (55, 55)),
        ("auto", None, (55, 55)),
        ("low", None, (16, 16)),
        ("auto", 600, (24, 24)),
        ("high", 600, (24, 24)),
        ("low", 600, (16, 16)),
        ("low", 2, (1, 1)),
    ],
)
def test_detail_and_budget_bound_the_cells(
    detail: Detail, most: int | None, cells: tuple[int, int]
) -> None:
    data = encoded(Image.new("L", (1600, 1600)), "PNG")
    opened = open_image(data, name="x", detail=detail, most_tokens=most, param="p")
    assert (opened.image.columns, opened.image.rows) == cells
    assert (opened.width, opened.height) == (1600, 1600)


def test_too_few_tokens_for_any_picture_are_refused() -> None:
    with pytest.raises(UnsupportedImage, match="x takes at least 2 tokens, and 1 are left"):
        open_image(PICTURES["PNG RGB"], name="x", most_tokens=1, param="p")


@pytest.mark.parametrize(
    ("key", "remarks"),
    [
        ("GIF animated", ("x has 4 frames; the first is seen",)),
        ("WEBP animated", ("x has 4 frames; the first is seen",)),
        ("PNG animated", ("x has 4 frames; the first is seen",)),
        ("TIFF pages", ("x has 4 pages; the first is seen",)),
        ("GIF P", ()),
        ("WEBP RGB", ()),
        ("PNG RGB", ()),
        ("TIFF RGB", ()),
        ("JPEG RGB", ()),
        ("BMP RGB", ()),
    ],
)
def test_what_is_not_seen_is_remarked_on(key: str, remarks: tuple[str, ...]) -> None:
    assert open_image(PICTURES[key], name="x", param="p").remarks == remarks


def test_frames_are_counted_up_to_a_bound() -> None:
    still = PICTURES["GIF P"]
    frame = still[still.index(b",") : -1]  # with the palette that the header holds
    data = still[:-1] + frame * 5000 + b";"
    remark = "x has more than 1000 frames; the first is seen"
    assert open_image(data, name="x", param="p").remarks == (remark,)


def test_a_jpeg_with_pictures_behind_it_is_one_picture() -> None:
    """As cameras write them: previews, depths and films after the end."""
    data = PICTURES["JPEG RGB"]
    assert open_image(data * 3, name="x", param="p") == open_image(data, name="x", param="p")


def test_heic_is_read_where_its_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    package = SimpleNamespace(
        HeifImageFile=lambda _: PngImagePlugin.PngImageFile(BytesIO(PICTURES["PNG RGB"]))
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    opened = open_image(heic, name="x", param="p")
    assert opened.image == open_image(PICTURES["PNG RGB"], name="x", param="p").image


def test_threads_do_not_mind_each_other() -> None:
    alone = {key: open_image(data, name=key, param="p") for key, data in PICTURES.items()}
    with ThreadPoolExecutor(8) as pool:
        made = {
            key: pool.submit(open_image, data, name=key, param="p")
            for _ in range(5)
            for key, data in PICTURES.items()
        }
        assert {key: each.result() for key, each in made.items()} == alone
