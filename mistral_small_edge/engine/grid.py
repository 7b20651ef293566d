"""Where the chunks of a prompt begin if all of them are to be of one shape."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """Marks in a prompt, `size` rows apart, counted anew where text or a picture begins.

    So they stand in the same places of every prompt that begins alike.

    Attributes:
        starts: the first rows of text and of pictures, ascending from 0.
        end: the prompt's, which is a mark, too.
    """

    size: int
    starts: tuple[int, ...]
    end: int

    def before(self, row: int) -> int:
        """The last mark that is not behind `row`."""
        if row >= self.end:
            return self.end
        start = self.starts[bisect_right(self.starts, row) - 1]
        return row - (row - start) % self.size
