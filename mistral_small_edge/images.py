"""A picture as the model is shown it: pixels, and a name for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Image:
    """RGB pixels, 8 bits a channel, rows from the top (`3 * width * height` bytes).

    `digest` is the sha256 of the size and the pixels, in hex: equal pictures are equal prompts.
    """

    pixels: bytes
    width: int
    height: int
    digest: str
