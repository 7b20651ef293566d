"""A picture as the model is shown it: pixels of whole cells, and a name for them.

A value and nothing else. Where the pixels came from, and what they were before, is `decode.py`'s;
the prompt knows only how many cells there are, the projector only the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from mistral_small_edge.images.geometry import CELL, num_tokens

Detail = Literal["low", "auto", "high"]


@dataclass(frozen=True, slots=True)
class Image:
    """RGB pixels, 8 bits a channel, rows from the top (`3 * width * height` bytes).

    `width` and `height` are pixels, both multiples of CELL. `digest` is the sha256 of the size and
    the pixels, in hex: equal pictures are equal prompts.

    Raises:
        ValueError: a side is not of whole cells, or the pixels are more or fewer than it says.
    """

    pixels: bytes = field(repr=False)
    width: int
    height: int
    digest: str

    def __post_init__(self) -> None:
        if min(self.width, self.height) < CELL or self.width % CELL or self.height % CELL:
            raise ValueError(f"{self.width}x{self.height} pixels are not whole cells of {CELL}")
        if len(self.pixels) != 3 * self.width * self.height:
            raise ValueError(
                f"{len(self.pixels)} bytes are not {self.width}x{self.height} pixels of 3 bytes"
            )

    @classmethod
    def of(cls, pixels: bytes, width: int, height: int) -> Image:
        """The image of these pixels, its digest computed."""
        size = width.to_bytes(4, "little") + height.to_bytes(4, "little")
        return cls(pixels, width, height, sha256(size + pixels).hexdigest())

    @property
    def columns(self) -> int:
        """Cells side by side."""
        return self.width // CELL

    @property
    def rows(self) -> int:
        """Cells one below the other."""
        return self.height // CELL

    @property
    def num_tokens(self) -> int:
        """Positions that the picture takes in a prompt, the ends of its rows included."""
        return num_tokens(self.columns, self.rows)
