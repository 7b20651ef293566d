"""How many prompt tokens to compute at once.

A chunk is the time during which nobody else is served and no cancel is heard. On a fast machine
the largest one takes a moment; on a small board reading 512 tokens of a 24B model takes minutes. So
the size follows the measured rate. Small chunks lose little: the weights are read more often, but
what attention computes on the way is small enough for the processor's caches. It never changes the
output: all sizes are of one row class.
"""

from __future__ import annotations

TARGET_SECONDS = 1.0
MIN_ROWS = 32  # below that the weights are read again for too few rows


class ChunkSize:
    """`size` is a power-of-two share of `largest`, at least `smallest`, worth TARGET_SECONDS."""

    def __init__(self, largest: int, smallest: int) -> None:
        self.smallest = max(smallest, min(MIN_ROWS, largest))
        self.largest = max(largest, self.smallest)
        # Small until measured: the first chunk may be of a board that needs minutes for a large one.
        self.size = max(self.smallest, self.largest // 8)

    def measured(self, rows: int, seconds: float) -> None:
        """Take into account that a chunk of `rows` took `seconds`."""
        if rows < self.size or seconds <= 0:
            return  # a short chunk is dearer a row, and says little
        size = self.largest
        while size > self.smallest and size * seconds > rows * TARGET_SECONDS:
            size //= 2
        self.size = max(size, self.smallest)
