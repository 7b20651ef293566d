"""What the model wrote, read again while nobody asks for anything.

Rows that were written differ in their last bits from rows that were read, so a conversation that
must repeat reads each answer at the beginning of its next turn. Whoever thinks about that turn, or has
a tool at work for it, leaves time to do so before. Only a conversation that has gone on once is worth it:
of a single question nobody knows whether there will be another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import Chunk, Interrupted
from mistral_small_edge.engine.grid import Grid
from mistral_small_edge.errors import DecodeFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.engine.backend import ModelRunner
    from mistral_small_edge.engine.prefix_cache import PrefixCache


class Rereading:
    """Reads again what free slots hold.

    Args:
        rows: at most so many at a time; whoever comes in meanwhile waits for them.
    """

    def __init__(self, runner: ModelRunner, cache: PrefixCache, rows: int) -> None:
        self._runner = runner
        self._cache = cache
        self._rows = rows

    def step(self) -> bool:
        """Read some of an answer; False if there is none that is worth it."""
        classes = self._runner.row_classes
        found = self._cache.written(classes.shortest) if self._runner.keeps_rows else None
        if found is None:
            return False
        slot, tokens, start = found
        if classes.grid:
            start = Grid(classes.grid, (_beginning(tokens, start),), len(tokens)).before(start)
            end = start + classes.grid
        else:
            end = start + classes.repeatable(classes.cut(len(tokens) - start, self._rows))
        try:
            self._runner.truncate(slot, start)
            self._runner.run((Chunk(slot, start, tuple(tokens[start:end]), sample=False),))
        except Interrupted:
            self._cache.advance(slot, start, start)
        except DecodeFailed:
            self._runner.truncate(slot, 0)
            self._cache.forget(slot)
        else:
            self._cache.advance(slot, end, end)
        return True


def _beginning(tokens: Sequence[int], row: int) -> int:
    """Where the text begins that `row` is of: behind a picture, whose numbers are negative, or at 0."""
    while row and tokens[row - 1] >= 0:
        row -= 1
    return row
