"""Pictures stretched or shrunk to whole cells, as the model's training did it.

What OpenCV's `resize` computes with INTER_CUBIC on float32: four taps in each direction, a = -0.75,
nothing smoothed before shrinking, the border repeated; then rounded to whole values. The source
comes in bands of rows, so that memory does not grow with it. Knows no files and no Pillow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
RowSource = Callable[[int, int], Pixels]

_SHARPNESS = np.float32(-0.75)  # the cubic's free parameter, which OpenCV fixes so
_TAPS = 4
_BAND = 1_000_000  # pixels in work at once; the intermediate floats take twelve bytes each


class _Axis(NamedTuple):
    """For each output place, where its taps lie in the source and what each weighs."""

    places: NDArray[np.intp]
    weights: NDArray[np.float32]


def resized(rows: RowSource, size: tuple[int, int], target: tuple[int, int]) -> bytes:
    """The picture of `size` in the size `target`, both (width, height) in pixels.

    `rows(top, bottom)` gives those rows of the source: (bottom - top, width, 3), RGB of 8 bits. The
    result is laid out the same way. A picture of the target's size keeps every value.
    """
    (width, height), (new_width, new_height) = size, target
    down, across = _axis(height, new_height), _axis(width, new_width)
    result = np.empty((new_height, new_width * 3), np.uint8)
    step = _band_height(size, target)
    for first in range(0, new_height, step):
        last = min(first + step, new_height)
        places, weights = down.places[first:last], down.weights[first:last]
        top = int(places[0, 0])
        source = rows(top, int(places[-1, -1]) + 1)
        flat = np.ascontiguousarray(source).reshape(len(source), width * 3)
        result[first:last] = _band(flat, _Axis(places - top, weights), across)
    return result.tobytes()


def _band_height(size: tuple[int, int], target: tuple[int, int]) -> int:
    """Output rows to work on at once: neither they nor their sources exceed _BAND pixels."""
    (width, height), (new_width, new_height) = size, target
    of_source = (_BAND // width - _TAPS) * new_height // height
    of_floats = _BAND // max(width, new_width)
    return max(min(of_source, of_floats), 1)


def _axis(size: int, new_size: int) -> _Axis:
    # In float64, as OpenCV's vendor kernels have it; its own code takes float32, which tells far
    # from the edge. Weights are float32 in both.
    position = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    before = np.floor(position)
    places = before.astype(np.intp)[:, np.newaxis] + np.arange(-1, _TAPS - 1)
    weights = _weights((position - before).astype(np.float32))
    return _Axis(np.clip(places, 0, size - 1), weights)


def _weights(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cubic at 1 + x, x, 1 - x and 2 - x, for 0 <= x < 1; rounded where OpenCV rounds."""
    a, one = _SHARPNESS, np.float32(1)
    outer = ((a * (x + one) - 5 * a) * (x + one) + 8 * a) * (x + one) - 4 * a
    inner, next_inner = (((a + 2) * y - (a + 3)) * y * y + one for y in (x, one - x))
    return np.stack([outer, inner, next_inner, one - outer - inner - next_inner], axis=1)


def _band(source: Pixels, down: _Axis, across: _Axis) -> Pixels:
    """Rows of interleaved channels, weighed down and then across."""
    total = _sum(source[down.places[:, k]] * down.weights[:, k, np.newaxis] for k in range(_TAPS))
    weights = np.repeat(across.weights, 3, axis=0)
    # Each place of a pixel as the three of its channels.
    places = (across.places[:, np.newaxis] * 3 + np.arange(3)[:, np.newaxis]).reshape(-1, _TAPS)
    total = _sum(np.take(total, places[:, k], axis=1) * weights[:, k] for k in range(_TAPS))
    np.rint(total, out=total)
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


def _sum(terms: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    terms = iter(terms)
    total = next(terms)
    for term in terms:
        total += term
    return total
