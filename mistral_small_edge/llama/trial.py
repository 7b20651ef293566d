"""What this machine does with a model, found by trying: where results repeat, and what width costs.

Kernels differ by processor, by format and by build, so nobody can know beforehand how many rows decode
like one, or whether checking eight tokens takes twice or four times as long as one. A few dozen
steps tell. Needs a runner that nobody uses meanwhile, and leaves its slots empty.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mistral_small_edge.engine.backend import LOGITS_ROWS, Chunk, RowClasses
from mistral_small_edge.engine.calibration import DraftCost, ExactPass, Repeats, StepCosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mistral_small_edge.llama.runner import LlamaRunner

# Kernels for many rows begin at four, or at eight.
WIDTHS = (1, 2, 3, 4, 7, 8, 12, 16, 24, LOGITS_ROWS)
FEW_WIDTHS = (1, 2, 3, 4, 7, 8, 16, LOGITS_ROWS)  # where a step takes long
_LONG = 0.1  # seconds
# Each width is tried again while there is time; the fastest counts, as neighbours only slow it down.
_SECONDS = 4.0
_MOST_TRIES = 8
_LEAST_TRIES, _NARROW = 2, 8  # whatever they take: guesses of so many rows are the usual ones
_WIDEST_GROUP = 8  # sequences that are tried together
_READ = 32  # rows that stand before those that are tried
_MULTIPLES = (1, 4, 8, 16)  # as many rows as a kernel may take at once


def try_costs(runner: LlamaRunner, on_progress: Callable[[float], None] | None = None) -> StepCosts:
    """Time wider and wider batches: some 150 steps of one token in time, 40 where these take long.

    Args:
        on_progress: called with 0..1; what it raises ends the trial.
    """
    if not runner.keeps_rows or runner.context_length <= _READ + LOGITS_ROWS:
        return StepCosts()
    with _trial(runner, on_progress) as trial:
        return trial.costs()


def try_repeats(runner: LlamaRunner, on_progress: Callable[[float], None] | None = None) -> Repeats:
    """Compare the same rows, computed in different company and by fewer threads.

    Args:
        on_progress: called with 0..1; what it raises ends the trial.
    """
    # Nothing can be computed twice, or the grid is kept to whatever would be found.
    if not runner.keeps_rows or runner.row_classes.grid:
        return Repeats(runner.row_classes)
    with _trial(runner, on_progress) as trial:
        return trial.repeats()


def try_exact_pass(
    runner: LlamaRunner,
    widths: Iterable[int],
    on_progress: Callable[[float], None] | None = None,
) -> ExactPass:
    """Compute the same row in every place of a pass, in different company and by a thread less.

    Args:
        widths: rows of a pass, those that are wanted most first; up to `max_sequences`.
        on_progress: as for `try_costs`.
    """
    with _trial(runner, on_progress) as trial:
        return ExactPass(next(filter(trial.is_exact_pass, widths), 0))


def try_draft(
    runner: LlamaRunner, draft: LlamaRunner, on_progress: Callable[[float], None] | None = None
) -> DraftCost:
    """Time steps of one token of both.

    Args:
        on_progress: as for `try_costs`.
    """
    with _trial(runner, on_progress) as large, _trial(draft, on_progress) as small:
        return DraftCost(round(small.step() / large.step(), 3))


@contextmanager
def _trial(runner: LlamaRunner, on_progress: Callable[[float], None] | None) -> Iterator[_Trial]:
    try:
        yield _Trial(runner, on_progress or (lambda _: None))
    finally:
        for slot in range(runner.max_sequences):
            runner.truncate(slot, 0)


class _Trial:
    def __init__(self, runner: LlamaRunner, on_progress: Callable[[float], None]) -> None:
        self._runner = runner
        self._on_progress = on_progress
        # Any tokens will do: neither the time nor the kernels depend on them.
        self._tokens = tuple(number % 3 for number in range(runner.context_length))
        self._read = min(_READ, runner.context_length // 4)

    def costs(self) -> StepCosts:
        """The time of each width, as a multiple of the first one's."""
        self._fill(0)
        self._time(1)  # whatever is made at the first step
        slow = self._time(1) > _LONG
        widths = FEW_WIDTHS if slow else WIDTHS
        fastest = dict.fromkeys(widths, float("inf"))
        begun = time.perf_counter()
        for number in range(_MOST_TRIES):
            is_late = time.perf_counter() - begun > _SECONDS
            if is_late and number >= _LEAST_TRIES:
                break
            for at, rows in enumerate(widths):
                self._on_progress((number + at / len(widths)) / _MOST_TRIES)
                if not is_late or rows <= _NARROW:
                    fastest[rows] = min(fastest[rows], self._time(rows))
        # A batch is never cheaper than one row, nor dearer than as many steps.
        costs = np.clip([fastest[rows] / fastest[1] for rows in widths], 1, widths)
        costs = costs.round(3).tolist()
        return StepCosts(tuple(zip(widths, costs, strict=True)))

    def step(self) -> float:
        """Seconds of a step of one token."""
        self._fill(0)
        return min(self._time(1) for _ in range(_MOST_TRIES))

    def _time(self, rows: int) -> float:
        chunk = replace(self._chunk(0, self._read, rows), drafted=rows - 1)
        begun = time.perf_counter()
        self._runner.run((chunk,))
        seconds = time.perf_counter() - begun
        self._runner.truncate(0, self._read)
        return seconds

    def repeats(self) -> Repeats:
        """The widest group that decodes like one sequence; and what chunks are of one class.

        Where a single row's context is split among the threads, that is from 512 rows on, and not if several
        sequences are computed: whatever fewer rows would tell, one decodes like itself alone.
        """
        self._on_progress(1.0)
        shortest = self._shortest_chunk(self._runner.row_classes.min_prefill_rows)
        multiple = self._multiple(shortest)
        if self._runner.splits_context:
            return Repeats(RowClasses(shortest, 1, multiple=multiple), any_threads=False)
        widest = self._widest_group()
        shared = widest if widest > 1 and self._are_read_alike(shortest) else 1
        rows = RowClasses(shortest, widest, multiple=multiple, shared_prompts=shared)
        return Repeats(rows, self._any_threads())

    def _any_threads(self) -> bool:
        """Whether a chunk and a row behind it are the same with every smaller number of threads."""
        found = set()
        for threads in range(self._runner.threads, 0, -1):
            self._runner.use_threads(threads)
            self._fill(0)
            (row,) = self._runner.run((self._chunk(0, self._read, 1),))
            found.add(self._runner.logits(row).tobytes())
            self._on_progress(1.0)
        self._runner.use_threads(self._runner.threads)
        return len(found) == 1

    def _are_read_alike(self, rows: int) -> bool:
        """Whether chunks of two prompts, in different places, come out together as they do alone."""
        if 4 * rows > self._longest:
            return False
        for slot, start in ((0, 0), (1, rows)):
            self._runner.truncate(slot, 0)
            if start:
                self._runner.run((self._chunk(slot, 0, start),))
        chunks = self._chunk(0, 0, 2 * rows), self._chunk(1, rows, 2 * rows)
        found = []
        for batches in ([chunks], [chunks[:1], chunks[1:]]):
            for batch in batches:
                self._on_progress(1.0)
                wanted = self._runner.run(batch)
                found += [self._runner.logits(row).tobytes() for row in wanted]
            for chunk in chunks:
                self._runner.truncate(chunk.slot, chunk.start)
        return found[:2] == found[2:]

    def _widest_group(self) -> int:
        self._fill(0)
        alone = None
        for together in range(1, min(_WIDEST_GROUP, self._runner.max_sequences) + 1):
            self._on_progress(1.0)
            if together > 1:
                self._runner.copy(0, together - 1, self._read)
            found = self._pass(dict.fromkeys(range(together), self._read))
            alone = alone or found[0]
            if any(one != alone for one in found):
                return together - 1
        return min(_WIDEST_GROUP, self._runner.max_sequences)

    def is_exact_pass(self, width: int) -> bool:
        """Whether each row of such a pass comes out as every other one would in its place."""
        self._fill(0)
        for slot in range(1, width):
            self._runner.copy(0, slot, self._read)
        everywhere = self._pass(dict.fromkeys(range(width), self._read))
        everywhere += self._by_one_thread_less(width)
        if len(set(everywhere)) > 1:
            return False
        # Others with fewer rows, and other tokens, beside every second one.
        for slot in range(1, width, 2):
            self._runner.truncate(slot, self._read // 2)
        rows = {slot: self._read // (1 + slot % 2) for slot in range(width)}
        beside_others = self._pass(rows)
        return set(beside_others[::2]) == set(everywhere)

    def _by_one_thread_less(self, width: int) -> list[bytes]:
        if self._runner.threads == 1:
            return []
        self._runner.use_threads(self._runner.threads - 1)
        found = self._pass(dict.fromkeys(range(width), self._read))
        self._runner.use_threads(self._runner.threads)
        return found

    def _pass(self, rows: dict[int, int]) -> list[bytes]:
        """What a row behind so many of each slot gives."""
        self._on_progress(1.0)
        group = tuple(self._chunk(slot, start, 1) for slot, start in rows.items())
        found = [self._runner.logits(row).tobytes() for row in self._runner.run(group)]
        for slot, start in rows.items():
            self._runner.truncate(slot, start)
        return found

    def _shortest_chunk(self, rows: int) -> int:
        """`rows`, or more if the last `rows` of a chunk are not computed as by themselves."""
        while 4 * rows <= self._longest and not self._is_the_same((rows, rows)):
            rows *= 2
        return rows

    def _multiple(self, shortest: int) -> int:
        """Of what number a chunk's rows have to be a multiple: kernels take some rows at once."""
        for multiple in _MULTIPLES:
            lengths = shortest + multiple, shortest + 3 * multiple
            if sum(lengths) <= self._longest and self._is_the_same(lengths):
                return multiple
        return shortest

    @property
    def _longest(self) -> int:
        return min(self._runner.batch_rows, self._runner.context_length)

    def _is_the_same(self, lengths: tuple[int, int]) -> bool:
        """Whether two chunks leave the logits that one of all their rows does."""
        found = []
        for cuts in ((sum(lengths),), lengths):
            self._runner.truncate(0, 0)
            start = 0
            for length in cuts:
                self._on_progress(1.0)
                (row,) = self._runner.run((self._chunk(0, start, length),))
                start += length
            found.append(self._runner.logits(row).tobytes())
        return found[0] == found[1]

    def _fill(self, slot: int) -> None:
        self._runner.truncate(slot, 0)
        self._runner.run((self._chunk(slot, 0, self._read),))

    def _chunk(self, slot: int, start: int, rows: int) -> Chunk:
        return Chunk(slot, start, self._tokens[start : start + rows], sample=True)
