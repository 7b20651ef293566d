"""What the engine asks of a model: its Protocols and the values that cross them.

`llama/` implements them on llama.cpp, the tests with a few lines of arithmetic. Positions and
slots are plain ints; a row is one token's place in a KV lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.images import Image


@dataclass(frozen=True, slots=True)
class RowClasses:
    """How many rows may share a computation before its last bits change.

    The kernels of a CPU differ by the number of rows they are given. Results repeat bit by bit
    within a class, not across: a prefill chunk has at least `min_prefill_rows`, and sequences
    that must repeat decode at most `max_repeatable_rows` at a time. Kernels for several rows at once leave
    those to another that are over: of a chunk only as many as are a multiple of `multiple` are of the class.

    The kernels of an accelerator share out their work by the number of rows and of those before. With
    a `grid` results repeat only between chunks of exactly so many rows that begin in the same
    place: every chunk that must repeat begins at a mark of that grid, and the last one is filled up.

    With an `exact_pass` sequences that must repeat decode in passes of exactly so many rows, of as many
    slots that follow one another, in place of `max_repeatable_rows`: slower for one, faster for many.

    Up to `shared_prompts` prompts may share a batch, each with a chunk of as many rows.
    """

    min_prefill_rows: int = 8
    max_repeatable_rows: int = 3
    grid: int = 0
    multiple: int = 1
    exact_pass: int = 0
    shared_prompts: int = 1

    @property
    def shortest(self) -> int:
        """Rows of the shortest chunk of the class."""
        return self.grid or self.min_prefill_rows

    def filled(self, rows: int) -> int:
        """How many rows a chunk of `rows` is computed with, so that all of these are of the class."""
        return max(self.shortest, rows + -rows % self.multiple)

    def repeatable(self, rows: int) -> int:
        """How many rows, the first ones, of a chunk of `rows` are of the class; without a grid."""
        return rows - rows % self.multiple if rows >= self.min_prefill_rows else 0

    def cut(self, remaining: int, most: int) -> int:
        """How many of the remaining rows to compute next, so that those that are left can be of the class.

        Args:
            most: also of those that it is filled up to; at least twice `min_prefill_rows`.
        """
        most -= most % self.multiple
        if remaining <= most:
            return remaining
        rows = min(most, remaining - self.min_prefill_rows)
        return rows - rows % self.multiple


# The most rows of one chunk whose logits are kept: 16 MB of them at 131,072 ids.
LOGITS_ROWS = 32


# A picture as the model reads it, (rows, width): the runner's own kind of array, which the engine
# keeps and slices and never looks into.
Vectors = Any


# One row of logits, (vocabulary,).
Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one slot, the first of them at row `start`.

    `sample`: the logits after the last token are wanted. `score`: those after every one; such a
    chunk has at most LOGITS_ROWS tokens and a batch of its own, so token i is row i of the batch.
    `vectors`: rows of a picture, read in the place of `tokens`, which only name them then.
    `padding`: rows to be computed behind the chunk and forgotten, so that it is of its row class, or
    takes less time; such a chunk has a batch of its own, unless it has no tokens and is nothing else, or
    those of several prompts have as many rows each.
    `drafted`: so many of the last tokens are a guess, and the logits before each of them and after
    the last are wanted, in consecutive rows.
    """

    slot: int
    start: int
    tokens: tuple[int, ...]
    sample: bool
    score: bool = False
    vectors: Vectors | None = None
    padding: int = 0
    drafted: int = 0


Batch = tuple[Chunk, ...]


class Interrupted(Exception):
    """A batch was given up: none of its rows is there, and all that was there before still is."""


class Tokenizer(Protocol):
    """Text to ids and ids to bytes."""

    @property
    def vocab_size(self) -> int:
        """Number of ids; every id is below it."""

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: nothing in it becomes a control token."""

    def token_bytes(self, token: int) -> bytes:
        """What the token adds to the text; empty for control tokens."""

    def is_control(self, token: int) -> bool:
        """Whether the token is a mark of the model's format, and no text."""

    def is_end(self, token: int) -> bool:
        """Whether the model says with it that the answer is complete."""


class Constraint(Protocol):
    """What one answer may be: asked before each of its tokens, told of it afterwards."""

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that the answer never holds, wherever it stands."""

    @property
    def prose_until(self) -> int | None:
        """The control token from which on the answer is no prose: no stop string ends it."""

    @property
    def complete(self) -> bool:
        """Whether nothing can follow what was accepted."""

    def allowed(self) -> bytes | None:
        """A bit for each id, the lowest first: whether it may come next. None allows any.

        Raises:
            InvalidGrammar: to know would take more than is granted.
        """

    def forced(self) -> tuple[int, ...]:
        """Tokens of what has to come next, as text is usually cut; there may be other ways to cut it."""

    def accept(self, token: int) -> None:
        """Go on behind `token`, which `allowed` has allowed.

        Raises:
            InvalidGrammar: to go on would take more than is granted.
        """


class Looking(Protocol):
    """A picture while it is turned into vectors, a slice of the work at a time."""

    @property
    def done(self) -> float:
        """How much of the work is done, from 0 to 1."""

    def advance(self) -> Vectors | None:
        """Do some more; the vectors, once they are all there.

        Raises:
            ModelLoadFailed: the projector cannot be loaded.
            EncodeFailed: llama.cpp cannot look at this picture.
        """

    def close(self) -> None:
        """Give the rest up. Idempotent."""


class ModelRunner(Protocol):
    """A model with a KV cache of `max_sequences` lanes."""

    @property
    def max_sequences(self) -> int:
        """Number of slots."""

    @property
    def context_length(self) -> int:
        """Rows in a slot."""

    @property
    def row_classes(self) -> RowClasses:
        """Where this model's results repeat."""

    @property
    def keeps_rows(self) -> bool:
        """Whether `truncate` can leave some rows; a recurrent model has one state and no rows."""

    def run(self, batch: Batch) -> tuple[int, ...]:
        """Compute the batch; the (first) logits row of each chunk that samples, in order.

        Raises:
            Interrupted: `interrupt` was called.
            DecodeFailed: nothing of the batch may be relied on; its slots are to be emptied.
        """

    def interrupt(self) -> None:
        """Have the batch in work raise Interrupted as soon as can be, or the next one, until `go_on`.

        Any thread may call it, where `keeps_rows`. It may come to nothing.
        """

    def go_on(self) -> None:
        """Let batches be computed."""

    def logits(self, row: int) -> Logits:
        """Those at `row` of the last batch, until the next one: copy what is to be kept."""

    def seen(self, image: Image) -> Vectors | None:
        """The vectors of a picture that was looked at before, if they are still there."""

    def look_at(self, image: Image) -> Looking:
        """Begin to turn a picture into vectors; one at a time, to its end or given up."""

    def copy(self, source: int, slot: int, length: int) -> None:
        """Have `slot` hold the first `length` rows of `source` and no others, bit for bit.

        Raises:
            DecodeFailed: nothing of `slot` may be relied on.
        """

    def save(self, slot: int) -> memoryview:
        """All rows of a slot, for `restore` of a runner of the same model that computes alike.

        Raises:
            DecodeFailed: they cannot be had.
        """

    def restore(self, slot: int, state: memoryview, length: int) -> None:
        """Have `slot` hold the first `length` rows of what `save` gave and no others, bit for bit.

        `state` is writable memory, and is not written to.

        Raises:
            DecodeFailed: nothing of `slot` may be relied on.
        """

    def truncate(self, slot: int, length: int) -> None:
        """Forget the slot's rows at `length` and after; `length` is 0 unless `keeps_rows`."""


class DraftModel(Protocol):
    """A smaller model of the same vocabulary: it writes ahead, and the large one checks."""

    @property
    def cost(self) -> float:
        """What a token of its own takes, as a share of the large one's step of one token."""

    def write(self, slot: int, tokens: Sequence[int], most: int) -> tuple[int, ...]:
        """Up to `most` tokens that it would write behind `tokens`, as far as it is sure of them.

        What `slot` was asked about before need not be read again.
        """

    def forget(self, slot: int) -> None:
        """Have what is written there next depend on its own tokens alone, to the last bit."""
