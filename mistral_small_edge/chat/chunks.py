"""A rendered prompt: control tokens by name, and text that is only ever text.

The border between the two is drawn here, while it is known who wrote what, and never looked for
again in a finished string.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_small_edge.images import Image


@dataclass(frozen=True, slots=True)
class Control:
    """A control token, by its name in the vocabulary."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text, to be encoded in one piece, whatever it looks like."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageGrid:
    """A picture, and the cells of 28 by 28 pixels that the model sees it in."""

    image: Image
    columns: int
    rows: int

    @property
    def marks(self) -> tuple[Control, ...]:
        """A control token for each position: each row ends with a break, the last with the end."""
        row = (*[Control("[IMG]")] * self.columns, Control("[IMG_BREAK]"))
        return (*(row * self.rows)[:-1], Control("[IMG_END]"))


Chunk = Control | Text | ImageGrid


def merged(chunks: Iterable[Chunk]) -> tuple[Chunk, ...]:
    """The same prompt with neighbouring texts joined and empty ones gone.

    Tokens cross the seam between a template's text and a message's: encoded apart they would not
    be those the model was trained on.
    """
    result: list[Chunk] = []
    for chunk in chunks:
        last = result[-1] if result else None
        if isinstance(chunk, Text) and isinstance(last, Text):
            result[-1] = Text(last.text + chunk.text)
        elif chunk != Text(""):
            result.append(chunk)
    return tuple(result)
