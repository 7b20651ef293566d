"""Resampling as OpenCV does it: beside what OpenCV made, and beside the formula written out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mistral_small_edge.images.resample import resized
from tests.images.pictures import noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size = tuple[int, int]

# Made with opencv-python-headless 5.0.0, from `noise` of the first size:
#   cv2.resize(source.astype(np.float32), target, interpolation=cv2.INTER_CUBIC)
# then np.rint, clipped to 0..255; a line is a row of pixels.
GOLDEN: list[tuple[Size, Size, str]] = [
    (
        (5, 4),
        (8, 6),
        """
        0073fb00bef000f3de0082d50c7ac119e0ac1ea9a31f61a2
        7e54f76584d044b3953b91681fae7a0af0b45d9197ab2c6e
        e971cdda7bacb6936b83b10b4edd2c42f0aca7899eff286f
        82f678caf1a6ffe6b599d6348acf1edfd08cb8afce8293ed
        b0c79ea59dc68d7be362abb780ac70cd7f48b8b57190eda3
        ff60e7861be80000f02271ff5a8fc6764117ada904d3ff25
        """,
    ),
    (
        (9, 7),
        (8, 6),
        """
        0f7ef30dd9c81387ae29aea44bae9065b5968a179ab8a59f
        df84b8b9a25b57de259ca1b8d3462daeb9a174468a7e665d
        b2caad8786dd7cb567d1b17619e0834796915d856076e2d3
        5a7355a079f0b35f9bc36829ac66179ec1a5d54add8bede8
        c485b89b9287898be3e9b1368edf403b8668c959deccb091
        af2ea3e1ebb06ea517897c6d6f5dd7303468891c822311ee
        """,
    ),
    (
        (61, 40),
        (8, 6),
        """
        af8314486096711ba041d4b52156ae9e940b3d03d075c7ee
        dc765582266eaf4c9665cf7890336854a24200dd8fc53672
        d0a675a3e401ea646289553299cd4c877979af7b322a2ab4
        d8d1483e799eff796d10b87b99e130775e5b8733db6e99e2
        2ac6b3933d781a8474f6754c6bbb7618d65a4796d5d36a1d
        42eabeadc51a63615e5218db333ca3666aefef9b802e4b60
        """,
    ),
    (
        (1, 9),
        (2, 12),
        """
        007df8007df8
        9a55ec9a55ec
        d29eabd29eab
        8afa808afa80
        ed73e3ed73e3
        4b75414b7541
        528d48528d48
        ff68f8ff68f8
        ba20b0ba20b0
        3b5a313b5a31
        12a90812a908
        43be3943be39
        """,
    ),
    (
        (9, 1),
        (8, 2),
        """
        0081f504dfd01081b623b0a43eb7995fb495891799beaba5
        0081f504dfd01081b623b0a43eb7995fb495891799beaba5
        """,
    ),
    (
        (40, 3),
        (8, 5),
        """
        045dcf95199dbb51005f3913b1b6bb81cafa005bb6009a08
        2b847992049a7ea23f754f298ca3a8c17cac0060bb546460
        5fb81183078b3dec9b8d674173787def1f4f015cb7a92fb5
        72cb1152735a658ad6845e38c32b30712b5b78379252635e
        76cf282eca36942af277512bff0000004979d71974009806
        """,
    ),
]


def ours(source: NDArray[np.uint8], target: Size) -> NDArray[np.int64]:
    height, width, _ = source.shape
    pixels = resized(lambda top, bottom: source[top:bottom], (width, height), target)
    return np.frombuffer(pixels, np.uint8).reshape(target[1], target[0], 3).astype(np.int64)


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def matrix(size: int, new_size: int) -> NDArray[np.float64]:
    """Each new place as a weighing of the old ones; beyond the border, the border's again."""
    weights = np.zeros((new_size, size))
    for place in range(new_size):
        position = (place + 0.5) * size / new_size - 0.5
        for tap in range(math.floor(position) - 1, math.floor(position) + 3):
            weights[place, min(max(tap, 0), size - 1)] += cubic(position - tap)
    return weights


def written_out(source: NDArray[np.uint8], target: Size) -> NDArray[np.float64]:
    height, width, _ = source.shape
    down, across = matrix(height, target[1]), matrix(width, target[0])
    return np.asarray(np.einsum("ij,jkc,lk->ilc", down, source, across, optimize=True))


@pytest.mark.parametrize(("size", "target", "rows"), GOLDEN)
def test_values_are_opencvs(size: Size, target: Size, rows: str) -> None:
    golden = np.frombuffer(bytes.fromhex(rows), np.uint8).reshape(target[1], target[0], 3)
    # What lies between two values to the last bit may be rounded either way.
    assert np.abs(ours(noise(*size), target) - golden).max() <= 1


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((1, 1), (28, 28)),
        ((2, 3), (28, 56)),
        ((40, 30), (56, 56)),
        ((1541, 300), (1540, 308)),
        ((2000, 1500), (1540, 1176)),
        ((5000, 2), (1540, 28)),
        ((2, 5000), (28, 1540)),
        ((65_535, 20), (1540, 28)),
        ((20, 65_535), (28, 1540)),
        ((200, 200), (1540, 1540)),
    ],
)
def test_values_are_the_formulas(size: Size, target: Size) -> None:
    source = noise(*size)
    expected = np.clip(written_out(source, target), 0, 255)
    # Half a step of rounding, and of float32 what it cannot tell.
    assert np.abs(ours(source, target) - expected).max() < 0.501


@pytest.mark.parametrize("size", [(28, 28), (1540, 1540)])
def test_the_same_size_keeps_every_value(size: Size) -> None:
    source = noise(*size)
    assert (ours(source, size) == source).all()


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((8000, 8000), (1540, 1540)),
        ((65_535, 970), (1540, 28)),
        ((970, 65_535), (28, 1540)),
        ((1, 65_535), (28, 1540)),
        ((28, 28), (1540, 1540)),
    ],
)
def test_the_source_is_asked_for_in_bands(size: Size, target: Size) -> None:
    asked: list[tuple[int, int]] = []
    row = noise(size[0], 1)

    def rows(top: int, bottom: int) -> NDArray[np.uint8]:
        asked.append((top, bottom))
        return np.broadcast_to(row, (bottom - top, *row.shape[1:]))

    resized(rows, size, target)
    assert all(0 <= top < bottom <= size[1] for top, bottom in asked)
    assert max(bottom - top for top, bottom in asked) * size[0] <= 1_100_000
