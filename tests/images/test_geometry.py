"""The cells of a picture, as mistral_common counts them, and the most that a budget allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from PIL import Image

from mistral_small_edge.images.geometry import (
    CELL,
    MAX_SIDE,
    MIN_TOKENS,
    cells,
    cells_within,
    num_tokens,
    token_budget,
)

SIZES = [
    *[(1, 1), (28, 28), (29, 28), (28, 29), (224, 224), (225, 224), (224, 225), (640, 480)],
    *[(1080, 1920), (1920, 1080), (4032, 3024), (3000, 4000), (1540, 1000), (3080, 2000)],
    *[(1539, 1540), (1540, 1540), (1541, 1540), (1541, 1541), (1541, 1), (1, 1541)],
    *[(1, 5000), (5000, 1), (10000, 10), (10, 10000), (1, 10000), (10000, 1), (65535, 900)],
]


@pytest.fixture(scope="module")
def reference() -> ImageEncoder:
    return ImageEncoder(ImageConfig(CELL // 2, MAX_SIDE, 2), SpecialImageIDs(10, 12, 13))


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_has_the_cells_that_the_reference_gives_it(
    reference: ImageEncoder, size: tuple[int, int]
) -> None:
    assert cells(*size) == reference._image_to_num_tokens(Image.new("1", size))
    assert cells_within(*size, None) == cells(*size)


@given(st.integers(1, 8000), st.integers(1, 8000))
def test_so_has_any_other(width: int, height: int) -> None:
    encoder = ImageEncoder(ImageConfig(CELL // 2, MAX_SIDE, 2), SpecialImageIDs(10, 12, 13))
    assert cells(width, height) == encoder._image_to_num_tokens(Image.new("1", (width, height)))


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        ((1540, 1540), None, (55, 55)),
        ((1540, 1540), 3080, (55, 55)),
        ((1540, 1540), 3079, (54, 54)),
        ((1540, 1540), 272, (16, 16)),
        ((1540, 1540), 271, (15, 15)),
        ((28, 28), 2, (1, 1)),
        ((9000, 1), 2, (1, 1)),
        ((9000, 1), 30, (29, 1)),
        ((1, 9000), 30, (1, 15)),
    ],
)
def test_a_budget_brings_the_sides_down(
    size: tuple[int, int], most: int | None, expected: tuple[int, int]
) -> None:
    assert cells_within(*size, most) == expected


@given(st.integers(1, 70_000), st.integers(1, 70_000), st.integers(MIN_TOKENS, 4000))
def test_no_budget_is_exceeded_and_none_is_left_unused(width: int, height: int, most: int) -> None:
    found = cells_within(width, height, most)
    assert num_tokens(*found) <= most
    larger = [cells(width, height, side) for side in range(CELL, MAX_SIDE + 1, CELL)]
    allowed = [num_tokens(*each) for each in larger if num_tokens(*each) <= most]
    assert num_tokens(*found) == max(allowed)


def test_less_than_one_cell_is_no_picture() -> None:
    with pytest.raises(ValueError, match="1 tokens"):
        cells_within(100, 100, 1)


def test_a_detail_is_a_budget() -> None:
    assert token_budget("low", None) == 272
    assert token_budget("low", 1000) == 272
    assert token_budget("low", 100) == 100
    assert token_budget("auto", None) is None
    assert token_budget("auto", 1000) == 1000
    assert token_budget("high", None) is None
    assert token_budget("high", 1000) == 1000
