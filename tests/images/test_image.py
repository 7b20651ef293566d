"""An image is of whole cells, and its name is its content's."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256

import pytest

from mistral_small_edge.images import Image


def test_an_image_counts_its_cells_and_tokens() -> None:
    image = Image.of(bytes(3 * 84 * 56), 84, 56)
    assert (image.columns, image.rows) == (3, 2)
    assert image.num_tokens == 8


@pytest.mark.parametrize("size", [(27, 28), (28, 30), (0, 28), (-28, -28)])
def test_sides_are_of_whole_cells(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="whole cells"):
        Image(b"", *size, "")


@pytest.mark.parametrize("length", [0, 3 * 28 * 28 - 1, 3 * 28 * 28 + 1])
def test_pixels_are_as_many_as_the_sides_say(length: int) -> None:
    with pytest.raises(ValueError, match="28x28"):
        Image(bytes(length), 28, 28, "")


def test_the_digest_is_of_the_size_and_the_pixels() -> None:
    pixels = bytes(range(256)) * 2 * 3 * 49  # of 56 by 896 pixels, either way
    images = [Image.of(pixels[:length], *size) for length, size in _shapes(len(pixels))]
    assert len({image.digest for image in images}) == len(images)
    assert Image.of(pixels, 56, 448).digest == Image.of(bytes(bytearray(pixels)), 56, 448).digest
    size = bytes([56, 0, 0, 0, 192, 1, 0, 0])
    assert images[0].digest == sha256(size + pixels).hexdigest()


def _shapes(length: int) -> list[tuple[int, tuple[int, int]]]:
    return [(length, (56, 448)), (length, (448, 56)), (length, (112, 224)), (2352, (28, 28))]


def test_an_image_is_written_without_its_pixels() -> None:
    assert "pixels" not in repr(Image.of(bytes(3 * 28 * 28), 28, 28))


def test_the_value_costs_no_heavy_import() -> None:
    """Each command that only mentions images would pay for Pillow, numpy and the network."""
    code = (
        "import sys, mistral_small_edge.images, mistral_small_edge.images.limits;"
        "mistral_small_edge.images.Image.of(bytes(2352), 28, 28);"
        "sys.exit(bool({'PIL', 'numpy', 'httpx2', 'httpcore2'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
