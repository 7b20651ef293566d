"""How many cells of 28 by 28 pixels the model sees a picture in.

Pure arithmetic, the same as mistral_common's ImageEncoder: sides are brought down to a limit, then
rounded up to whole cells. Knows no pixels, no files and no prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_small_edge.images.image import Detail

CELL = 28  # pixels: a patch of 14, merged two by two
MAX_SIDE = 1540  # pixels of the longest side that the model sees
LOW_DETAIL_TOKENS = 272  # of a square of 16 by 16 cells
MIN_TOKENS = 2  # of a picture in one cell: the cell, and the end


def num_tokens(columns: int, rows: int) -> int:
    """Positions that a picture takes: its cells, and one more at the end of each row."""
    return rows * (columns + 1)


def cells(width: int, height: int, max_side: int = MAX_SIDE) -> tuple[int, int]:
    """Columns and rows of a picture of `width` by `height` pixels, its sides at most `max_side`."""
    ratio = max(height / max_side, width / max_side)
    if ratio > 1:
        # Of a very long picture the short side would round to nothing.
        width, height = max(round(width / ratio), 1), max(round(height / ratio), 1)
    return (width - 1) // CELL + 1, (height - 1) // CELL + 1


def cells_within(width: int, height: int, most_tokens: int | None) -> tuple[int, int]:
    """Columns and rows under the largest limit on the sides that `most_tokens` tokens allow.

    Limits are tried a cell apart, from MAX_SIDE down. None is no bound on the tokens.

    Raises:
        ValueError: `most_tokens` is less than MIN_TOKENS.
    """
    if most_tokens is None:
        return cells(width, height)
    for max_side in range(MAX_SIDE, 0, -CELL):
        columns, rows = cells(width, height, max_side)
        if num_tokens(columns, rows) <= most_tokens:
            return columns, rows
    raise ValueError(f"no picture is seen in {most_tokens} tokens")


def auto_budget(detail: Detail, context_length: int) -> int | None:
    """The most tokens that a picture may take where nobody said how closely to look at it."""
    return context_length // 2 if detail == "auto" else None


def token_budget(detail: Detail, most_tokens: int | None) -> int | None:
    """The most tokens a picture may take at this detail; `most_tokens` bounds every detail."""
    if detail != "low":
        return most_tokens
    return LOW_DETAIL_TOKENS if most_tokens is None else min(LOW_DETAIL_TOKENS, most_tokens)
