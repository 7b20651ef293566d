"""What a request is to go on from: token ids, and pictures among them.

A picture's rows hold vectors, not tokens. In `tokens` the marks of the model's format stand in
their places; to the prefix cache they are negative numbers made of what the picture shows, so that
prefixes are equal where their numbers are. Knows no format and no vocabulary.
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_small_edge.images import Image

_DIGEST_DIGITS = 32  # 128 bits of a sha256 name a picture
_MAX_ROWS = 1 << 16  # of one picture; the largest that Mistral Small sees has 3079


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture whose `rows` vectors begin at row `start` of the prompt."""

    image: Image
    start: int
    rows: int

    @property
    def end(self) -> int:
        """The first row behind it."""
        return self.start + self.rows

    def identity(self) -> range:
        """A number below 0 for each row: equal for equal pictures, and for no others."""
        first = -(int(self.image.digest[:_DIGEST_DIGITS], 16) + 1) * _MAX_ROWS
        return range(first, first + self.rows)


@dataclass(frozen=True, slots=True)
class Prompt:
    """`tokens` has an id for every row; `pictures` are in the order of their rows."""

    tokens: tuple[int, ...]
    pictures: tuple[Picture, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def identity(self) -> list[int]:
        """A number for every row, such that equal prefixes are equal numbers."""
        rows = list(self.tokens)
        for picture in self.pictures:
            rows[picture.start : picture.end] = picture.identity()
        return rows

    def digest(self) -> bytes:
        """32 bytes: equal for equal prompts, and for no others."""
        digest = hashlib.sha256(array("i", self.tokens).tobytes())
        for picture in self.pictures:
            digest.update(f" {picture.start} {picture.rows} {picture.image.digest}".encode())
        return digest.digest()

    @property
    def starts(self) -> tuple[int, ...]:
        """The first rows of each text and each picture, ascending from 0."""
        borders = {row for picture in self.pictures for row in (picture.start, picture.end)}
        return tuple(sorted({0} | borders))

    def next_picture(self, row: int) -> Picture | None:
        """The picture that is there, or the first one behind."""
        return next((picture for picture in self.pictures if row < picture.end), None)

    def stretch(self, row: int) -> tuple[int, Picture | None]:
        """Where what begins at or before `row` ends: text, or the picture that is there."""
        for picture in self.pictures:
            if row < picture.start:
                return picture.start, None
            if row < picture.end:
                return picture.end, picture
        return len(self.tokens), None
