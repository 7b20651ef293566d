"""How a prompt is cut into chunks, and which rows that are there already it may begin with.

What must repeat is always computed in chunks of its row class: never too short, filled up where a prompt
ends, on a grid where there is one. It takes over only rows that were computed so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import LOGITS_ROWS, Chunk
from mistral_small_edge.engine.grid import Grid
from mistral_small_edge.engine.reuse import Reuse

if TYPE_CHECKING:
    from mistral_small_edge.engine.backend import RowClasses, Vectors
    from mistral_small_edge.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Cutting:
    """Knows the rows that count, and those that a slot has.

    Attributes:
        lane: rows in a slot.
        keeps_rows: whether a slot can forget its last rows and keep the others.
    """

    rows: RowClasses
    lane: int
    keeps_rows: bool

    def reuse(self, sequence: Sequence) -> Reuse:
        """What the sequence may begin with.

        Where a lane ends and nothing can be filled up, as many rows are to be left over as if it
        had begun with nothing.
        """
        exact = sequence.params.repeatable
        step = self.rows.grid or (1 if self._has_room(sequence) else self.rows.multiple)
        grid = _grid(sequence, step) if exact and step > 1 else None
        return Reuse(self._most_reused(sequence), exact=exact, grid=grid)

    def chunk(self, sequence: Sequence, size: int) -> Chunk:
        """The next rows of a prompt, about `size` of them."""
        start = sequence.num_computed
        border, picture = sequence.stretch
        score = sequence.params.prompt_logprobs is not None
        end = self._end(sequence, start, border, size)
        return Chunk(
            sequence.slot,
            start,
            tuple(sequence.tokens[start:end]),
            sample=end == len(sequence.tokens),
            score=score,
            vectors=picture and _slice(sequence.vectors, start - picture.start, end - start),
            # Only what must repeat pays for it.
            padding=self._padding(start, end) if sequence.params.repeatable and not score else 0,
        )

    def exact_rows(self, sequence: Sequence, chunk: Chunk) -> int:
        """How many of the chunk's rows every prompt would have that begins alike and has to repeat."""
        rows = len(chunk.tokens) + chunk.padding
        if not self.rows.grid:
            return min(len(chunk.tokens), self.rows.repeatable(rows))
        at_mark = _grid(sequence, self.rows.grid).before(chunk.start) == chunk.start
        return len(chunk.tokens) if at_mark and rows == self.rows.grid else 0

    def _has_room(self, sequence: Sequence) -> bool:
        """Whether the prompt's last chunk can be filled up, be it of one row."""
        return len(sequence.prompt) - 1 + self.rows.min_prefill_rows <= self.lane

    def _most_reused(self, sequence: Sequence) -> int:
        """All rows but the last, whose logits are wanted, unless they are known.

        Fewer where a lane ends: there a short chunk cannot be padded, so some rows are computed again
        for it. None where every row's own logits are wanted.
        """
        if not self.keeps_rows or sequence.params.prompt_logprobs is not None:
            return 0
        length = len(sequence.prompt)
        if sequence.known is not None:
            return length
        if self._has_room(sequence):
            return length - 1
        return max(0, length - self.rows.min_prefill_rows)

    def _end(self, sequence: Sequence, start: int, border: int, size: int) -> int:
        if sequence.params.prompt_logprobs is not None:
            return min(border, start + LOGITS_ROWS)
        if sequence.params.repeatable and self.rows.grid:
            return min(border, _grid(sequence, self.rows.grid).before(start) + self.rows.grid)
        return start + self.rows.cut(border - start, size)

    def _padding(self, start: int, end: int) -> int:
        """Rows that a chunk lacks to be of its class: before a picture text is often short."""
        missing = self.rows.filled(end - start) - (end - start)
        fits = self.keeps_rows and end + missing <= self.lane
        return missing if missing > 0 and fits else 0


def _grid(sequence: Sequence, size: int) -> Grid:
    return Grid(size, sequence.prompt.starts, len(sequence.prompt))


def _slice(vectors: Vectors, first: int, rows: int) -> Vectors:
    return vectors[first : first + rows]
