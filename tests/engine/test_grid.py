"""Where chunks must all be of one shape: whatever came before, each row is computed in the same company."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from mistral_small_edge.engine.backend import RowClasses
from mistral_small_edge.engine.grid import Grid
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.engine.sequence import SequenceStatus
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import Desk, Script, play, schedules
from tests.fakes import FakeRunner, next_token, picture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_small_edge.engine.calibration import StepCosts
    from mistral_small_edge.engine.sequence import Sequence as Request

SIZE = 5
ROWS = RowClasses(max_repeatable_rows=1, grid=SIZE)
SEEDED = SamplingParams(max_tokens=10, seed=7)
DRAWN = SamplingParams(max_tokens=10, temperature=1)


class GridDesk(Desk):
    """Checks after every step, of each request that must repeat, the company of its prompt's rows."""

    def check_books(self) -> None:
        super().check_books()
        for sequence in self.engine.scheduler.live:
            if sequence.status is SequenceStatus.DECODE and sequence.params.repeatable:
                assert self.shapes(sequence) == self.canonical(sequence.prompt)

    def shapes(self, sequence: Request) -> list[tuple[int, int]]:
        return self.runner.shapes[sequence.slot][: len(sequence.prompt)]

    def canonical(self, prompt: Prompt) -> list[tuple[int, int]]:
        """As if nobody had ever asked anything else."""
        lane = self.runner.context_length
        marks = Grid(SIZE, prompt.starts, len(prompt))
        shapes = []
        for row in range(len(prompt)):
            start = marks.before(row)
            border, _ = prompt.stretch(row)
            full = start + SIZE <= lane
            shapes.append((start, SIZE if full else min(start + SIZE, border) - start))
        return shapes


def desk(slots: int = 2, says: Callable[[Sequence[int]], int] = next_token) -> GridDesk:
    return GridDesk(FakeRunner(slots, 100, ROWS, says=says))


@settings(max_examples=300, deadline=None)
@schedules
def test_any_schedule_computes_a_prompt_that_must_repeat_in_the_same_chunks(
    script: Script,
    slots: int,
    costs: StepCosts | None,
    says: Callable[[Sequence[int]], int],
) -> None:
    asked = GridDesk(FakeRunner(slots, row_classes=ROWS, says=says), costs)
    play(asked, script)
    repeatable = all(sampling.repeatable for _, sampling in asked.asked.values())
    assert not repeatable or all(len(batch) == 1 for batch in asked.runner.batches)


@pytest.mark.parametrize(
    ("row", "mark"), [(0, 0), (4, 0), (5, 5), (6, 5), (7, 7), (11, 7), (12, 12), (16, 15), (18, 18)]
)
def test_marks_are_counted_anew_where_a_picture_begins_and_behind_it(row: int, mark: int) -> None:
    prompt = Prompt((1,) * 18, (picture(1, 7, 8),))
    assert prompt.starts == (0, 7, 15)
    assert Grid(SIZE, prompt.starts, len(prompt)).before(row) == mark


def test_a_prompt_goes_on_from_the_last_mark_that_both_have() -> None:
    asked = desk()
    asked.add(tuple(range(13)), SEEDED)
    asked.run()
    again = asked.add((*range(12), 50, 51), SEEDED)
    asked.run()
    assert asked.end(again).cached_tokens == 10


def test_the_same_prompt_again_is_not_read() -> None:
    asked = desk()
    for cached in (0, 13):
        request = asked.add(tuple(range(13)), SEEDED)
        asked.run()
        assert asked.end(request).cached_tokens == cached


def test_what_need_not_repeat_pays_nothing_and_is_no_help_to_what_must() -> None:
    asked = desk(slots=1)
    asked.add(tuple(range(13)), DRAWN)
    asked.run()
    assert not any(chunk.padding for batch in asked.runner.batches for chunk in batch)
    goes_on = asked.add((*range(13), 50), DRAWN)
    asked.run()
    assert asked.end(goes_on).cached_tokens == 13
    seeded = asked.add((*range(13), 50, 51), SEEDED)
    asked.run()
    assert asked.end(seeded).cached_tokens == 0


def test_an_answer_is_read_again_by_whole_chunks() -> None:
    asked = desk(says=lambda rows: ord("a") + next_token(rows) % 26)
    prompt: Sequence[int] = tuple(range(7))
    for _ in range(2):
        request = asked.add(prompt, SEEDED)
        asked.run()
        prompt = (*prompt, *asked.text(request).encode(), 0, 1)
    assert asked.engine.read_again()
    while asked.engine.read_again():
        asked.check_books()
    last = asked.add(prompt, SEEDED)
    asked.run()
    # All but what was asked and the last row of the answer are there; of these, whole chunks count.
    assert asked.end(last).cached_tokens == (len(prompt) - 3) // SIZE * SIZE


def test_a_chunk_that_begins_between_marks_does_not_count() -> None:
    asked = desk(slots=1)
    asked.add(tuple(range(13)), SEEDED)
    asked.run()
    asked.add(tuple(range(13 + SIZE)), DRAWN)  # goes on from the thirteenth row
    asked.run()
    last = asked.add((*range(13 + SIZE), 50), SEEDED)
    asked.run()
    assert asked.end(last).cached_tokens == 10


def test_behind_a_picture_an_answer_is_read_again_from_the_picture_on() -> None:
    asked = desk(says=lambda rows: ord("a") + next_token(rows) % 26)
    shown = picture(1, 1, 6)
    tokens = (5, *[9] * 6, 8)
    for _ in range(2):
        request = asked.add(Prompt(tokens, (shown,)), SEEDED)
        asked.run()
        tokens = (*tokens, *asked.text(request).encode(), 0, 1)
    while asked.engine.read_again():
        asked.check_books()
    last = asked.add(Prompt(tokens, (shown,)), SEEDED)
    asked.run()
    assert asked.end(last).cached_tokens == 7 + (len(tokens) - 3 - 7) // SIZE * SIZE
