"""Matrices of noise, already quantized.

No type's blocks are longer than a piece, so a piece is quantized as it would be within any row.
A stock of pieces is made, in a second at most, and rows are put together from it at random:
no two are the same, and as many as are wanted cost no more than copying them.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from scripts.synthetic.quants import quantize

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType
    from numpy.typing import NDArray

_PIECE = 256  # values
_STOCK = 1 << 14  # pieces


class Noise:
    """Draws matrices; the same seed and name give the same one."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._stocks: dict[tuple[int, GGMLQuantizationType], NDArray[np.uint8]] = {}

    def matrix(
        self, name: str, rows: int, columns: int, kind: GGMLQuantizationType
    ) -> NDArray[np.uint8]:
        """Bytes of a matrix whose product keeps a row's deviation; `columns` are whole pieces."""
        stock = self._stocks.get((columns, kind))
        if stock is None:
            stock = self._stocks[columns, kind] = self._stock(columns, kind)
        random = np.random.default_rng((self._seed, zlib.crc32(name.encode())))
        return stock[random.integers(len(stock), size=rows * columns // _PIECE)]

    def _stock(self, columns: int, kind: GGMLQuantizationType) -> NDArray[np.uint8]:
        random = np.random.default_rng((self._seed, columns))
        values = random.standard_normal((_STOCK, _PIECE), np.float32)
        values *= np.float32(columns**-0.5)
        return quantize(values, kind)
