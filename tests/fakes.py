"""A model made of arithmetic, in the shape of `engine/backend.py`.

Its next token is a function of every row in the slot, so an answer comes out right only if the
engine kept every row where it belongs. It also refuses what a real cache would silently get wrong.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mistral_small_edge.engine.backend import Batch, Interrupted, RowClasses
from mistral_small_edge.engine.prompt import Picture
from mistral_small_edge.errors import DecodeFailed, EncodeFailed
from mistral_small_edge.images import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_small_edge.engine.backend import Logits

VOCAB = 300
FALL = 1000  # so much lower is each next token's logit: at any temperature the first is drawn
END = 299  # ids below 256 are bytes; 256..298 are control tokens without text


def next_token(rows: Sequence[int]) -> int:
    """What the fake model says after `rows`."""
    digest = hashlib.blake2b(repr(list(rows)).encode(), digest_size=4).digest()
    value = int.from_bytes(digest, "little")
    return END if value % 29 == 0 else ord("a") + value % 26


def copied(rows: Sequence[int]) -> int:
    """What a model says that repeats what came ten rows before, and now and then something else."""
    said = next_token(rows)
    return rows[-10] if len(rows) >= 10 and rows[-10] >= 0 and said % 7 else said


def answer(
    prompt: Sequence[int], most: int, says: Callable[[Sequence[int]], int] = next_token
) -> list[int]:
    """The fake model's whole answer, the ending token included, worked out by itself."""
    rows = list(prompt)
    while len(rows) - len(prompt) < most:
        rows.append(says(rows))
        if rows[-1] == END:
            break
    return rows[len(prompt) :]


@dataclass
class FakeTokenizer:
    """Bytes are their own ids; any of them may be declared a control token."""

    vocab_size: int = VOCAB
    controls: frozenset[int] = frozenset(range(256, VOCAB))

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token: int) -> bytes:
        return b"" if token in self.controls else bytes([token])

    def is_control(self, token: int) -> bool:
        return token in self.controls

    def is_end(self, token: int) -> bool:
        return token == END


def picture(name: int, start: int, rows: int) -> Picture:
    """A picture that differs from those of other names and sizes."""
    digest = hashlib.sha256(f"{name} {rows}".encode()).hexdigest()
    return Picture(Image(bytes(3 * 28 * 28), 28, 28, digest), start, rows)


@dataclass
class FakeLooking:
    """Takes three slices; the vectors are the numbers that stand for the picture's rows."""

    runner: FakeRunner
    image: Image
    slices: int = 0
    closed: bool = False

    @property
    def done(self) -> float:
        return self.slices / 3

    def advance(self) -> list[int] | None:
        assert not self.closed
        self.slices += 1
        if self.image.digest in self.runner.blind_to:
            raise EncodeFailed(1, 1, 1)
        if self.slices < 3:
            return None
        vectors = list(
            Picture(self.image, 0, self.runner.picture_rows[self.image.digest]).identity()
        )
        if self.runner.remembers:
            self.runner.known[self.image.digest] = vectors
        return vectors

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeRunner:
    """KV lanes as lists. `fail_on` is asked before each batch whether it fails.

    `says` is the token that follows a lane's rows; the ones above it are the next likely.

    `shapes` has for each row the beginning and the length of the chunk that computed it.

    `picture_rows` has the rows of each picture by its digest; `blind_to` fails those it names.
    """

    max_sequences: int = 2
    context_length: int = 64
    row_classes: RowClasses = field(default_factory=RowClasses)
    keeps_rows: bool = True
    fail_on: Callable[[Batch], bool] = lambda _batch: False
    before: Callable[[], None] = lambda: None
    lanes: list[list[int]] = field(init=False)
    shapes: list[list[tuple[int, int]]] = field(init=False)
    said: dict[int, int] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    says: Callable[[Sequence[int]], int] = next_token
    picture_rows: dict[str, int] = field(default_factory=dict)
    blind_to: set[str] = field(default_factory=set)
    remembers: bool = True
    known: dict[str, list[int]] = field(default_factory=dict)
    looks: list[FakeLooking] = field(default_factory=list)
    copies: list[tuple[int, int, int]] = field(default_factory=list)
    interrupted: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.lanes = [[] for _ in range(self.max_sequences)]
        self.shapes = [[] for _ in range(self.max_sequences)]

    def run(self, batch: Batch) -> tuple[int, ...]:
        self.before()
        if self.interrupted.is_set():
            raise Interrupted
        self.batches.append(batch)
        rows = []
        at = 0
        self.said = {}
        if self.fail_on(batch):
            raise DecodeFailed(-1, sum(len(chunk.tokens) for chunk in batch))
        for chunk in batch:
            lane = self.lanes[chunk.slot]
            assert chunk.tokens or chunk.padding, "an empty chunk"
            assert chunk.start == len(lane), "rows must follow each other"
            named = all(token >= 0 for token in chunk.tokens)
            assert named if chunk.vectors is None else chunk.vectors == list(chunk.tokens)
            lane.extend(chunk.tokens)
            shape = chunk.start, len(chunk.tokens) + chunk.padding
            self.shapes[chunk.slot] += [shape] * len(chunk.tokens)
            assert len(lane) + chunk.padding <= self.context_length, "the lane is full"
            fills = not chunk.tokens
            widths = {len(other.tokens) + other.padding for other in batch}
            assert len(widths) == 1, "llama.cpp would cut it up"
            assert not fills or widths == {1}, "a slot lends one row to others of one"
            assert not chunk.drafted or len(batch) == 1, "guesses change others' row class"
            assert fills or chunk.drafted < len(chunk.tokens), "a guess follows a token"
            at += len(chunk.tokens)
            wanted = len(chunk.tokens) if chunk.score else (chunk.drafted + 1) * chunk.sample
            for back in range(wanted):
                self.said[at - 1 - back] = self.says(lane[: len(lane) - back])
            if chunk.sample:
                rows.append(at - 1 - chunk.drafted)
        return tuple(rows)

    def interrupt(self) -> None:
        assert self.keeps_rows, "what it has read is lost"
        self.interrupted.set()

    def go_on(self) -> None:
        self.interrupted.clear()

    def logits(self, row: int) -> Logits:
        distances = (np.arange(VOCAB) - self.said[row]) % VOCAB  # KeyError: nobody asked for it
        return (-FALL * distances).astype(np.float32)

    def seen(self, image: Image) -> list[int] | None:
        return self.known.get(image.digest)

    def look_at(self, image: Image) -> FakeLooking:
        assert all(look.closed for look in self.looks), "one picture at a time"
        self.looks.append(FakeLooking(self, image))
        return self.looks[-1]

    def save(self, slot: int) -> memoryview:
        return memoryview(json.dumps([self.lanes[slot], self.shapes[slot]]).encode())

    def restore(self, slot: int, state: memoryview, length: int) -> None:
        lane, shapes = json.loads(bytes(state))
        if len(lane) < length:
            raise DecodeFailed(-100, length)
        self.lanes[slot] = lane[:length]
        self.shapes[slot] = [(start, rows) for start, rows in shapes[:length]]

    def copy(self, source: int, slot: int, length: int) -> None:
        assert source != slot
        assert self.keeps_rows
        assert length <= len(self.lanes[source]), "rows that are not there cannot be copied"
        assert length > len(self.lanes[slot]), "a copy that brings nothing"
        self.lanes[slot] = self.lanes[source][:length]
        self.shapes[slot] = self.shapes[source][:length]
        self.copies.append((source, slot, length))

    def truncate(self, slot: int, length: int) -> None:
        assert self.keeps_rows or length == 0, "there are no rows to keep"
        assert length <= len(self.lanes[slot]), "rows that are not there cannot be kept"
        del self.lanes[slot][length:]
        del self.shapes[slot][length:]


@dataclass
class FakeDraft:
    """A smaller model that is right but for every `wrong`-th token of a text; 0 is always right.

    Attributes:
        forgotten, written: the slots, in the order in which it was told and asked.
    """

    cost: float
    wrong: int = 0
    says: Callable[[Sequence[int]], int] = next_token
    forgotten: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)

    def write(self, slot: int, tokens: Sequence[int], most: int) -> tuple[int, ...]:
        assert most > 0
        assert min(tokens) >= 0, "it cannot see"
        self.written.append(slot)
        rows = list(tokens)
        for _ in range(most):
            is_wrong = self.wrong and len(rows) % self.wrong == 0
            rows.append(self.says(rows) + bool(is_wrong))
        return tuple(rows[len(tokens) :])

    def forget(self, slot: int) -> None:
        self.forgotten.append(slot)
