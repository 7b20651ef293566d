"""How many prompt tokens to compute at once.

A chunk is the time during which nobody else is served; whoever gives up need not wait for its end. On a
fast machine the largest one takes a moment; on a small board reading 512 tokens of a 24B model takes
minutes. So the size follows the measured rate. The larger a chunk, the less often weights are fetched and
unpacked for its rows, which is much of what some kernels do: small ones are for others' sake only. It
never changes the output: all sizes are of one row class.
"""

from __future__ import annotations

ALONE_SECONDS = 15.0  # while nobody is being answered, at least
MIN_ROWS = 32  # below that the weights are read again for too few rows
# With K-quants as they are in the file fewer are slower, down to little more than half the rate with
# MIN_ROWS at Mistral Small's width on AVX-512; more than this gain nothing to speak of.
ENOUGH_ROWS = 256


class ChunkSize:
    """Each is a power-of-two share of `largest`, at least `smallest`, worth its seconds.

    Args:
        seconds: what a chunk may take, about, while others are being answered.

    Attributes:
        size: rows while others are being answered.
        alone: rows while nobody is.
    """

    def __init__(self, largest: int, smallest: int, seconds: float) -> None:
        self._seconds = seconds
        self.smallest = max(smallest, min(MIN_ROWS, largest))
        self.largest = max(largest, self.smallest)
        # Small until measured: the first chunk may be of a board that needs minutes for a large one.
        self.size = self.alone = max(self.smallest, self.largest // 8)

    def of_all(self, *, alone: bool) -> int:
        """How many rows of several prompts to compute at once, at the most."""
        return self.alone if alone else self.size

    def most(self, rows: int, *, alone: bool) -> int:
        """Of a prompt that lacks `rows` how many to compute at once, at the most.

        A short rest is taken along: by itself it takes nearly as long as a whole chunk.
        """
        size = self.of_all(alone=alone)
        longer = min(size + size // 2, self.largest)
        return longer if rows <= longer else size

    def measured(self, rows: int, seconds: float) -> None:
        """Take into account that a chunk of `rows` took `seconds`."""
        if rows < self.size or seconds <= 0:
            return  # a short chunk is dearer a row, and says little
        rate = rows / seconds
        self.size = self._worth(self._seconds * rate)
        self.alone = max(self.size, self._worth(min(ALONE_SECONDS * rate, ENOUGH_ROWS)))

    def _worth(self, rows: float) -> int:
        size = self.largest
        while size > self.smallest and size > rows:
            size //= 2
        return max(size, self.smallest)
