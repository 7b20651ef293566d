"""Guesses: where they come from, when they are made, and that they change nothing but the time."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.backend import LOGITS_ROWS
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.lookup import Lookup
from mistral_small_edge.engine.speculation import Drafter
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import ROWS, Desk, prompt_of
from tests.fakes import END, FakeDraft, FakeRunner, copied, next_token, picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.engine.backend import Chunk

FREE = StepCosts(((1, 1.0), (LOGITS_ROWS, 1.0)))
PICTURE = picture(1, 0, 1).identity()[0]


@pytest.mark.parametrize(
    ("tokens", "continued", "match"),
    [
        ([1, 2, 3, 9, 3], (9, 3, 9, 3), 1),
        ([1, 2, 3, 4, 5, 6, 9, 2, 3], (4, 5, 6, 9), 2),
        ([7, 2, 3, 4, 8, 2, 3, 5, 7, 2, 3], (4, 8, 2, 3), 3),  # the longest one
        ([0, 2, 3, 4, 1, 2, 3, 5, 9, 2, 3], (5, 9, 2, 3), 2),  # or else the latest
        ([1, 2, 3, 1, 2, 3], (1, 2, 3, 1), 3),  # round in circles
        ([5, 5, 5], (5, 5, 5, 5), 2),
        ([1, 2, 3, PICTURE, 4, 1, 2], (3,), 2),  # a picture's row cannot be drafted
        ([PICTURE, 2, 9, PICTURE, 2], (9,), 1),  # and equals nothing
    ],
)
def test_a_guess_is_what_followed_the_same_words(
    tokens: list[int], continued: tuple[int, ...], match: int
) -> None:
    found = Lookup().find(tokens, 4)
    assert found is not None
    assert (found.tokens, found.match) == (continued, match)


@pytest.mark.parametrize("tokens", [[], [1], [1, 2, 3], [2, PICTURE, 9, 2, PICTURE]])
def test_nothing_is_guessed_behind_what_is_new(tokens: list[int]) -> None:
    assert Lookup().find(tokens, 4) is None


@pytest.mark.parametrize(("said", "expected"), [([10, 11], 3), ([30], 42)])
def test_a_copy_goes_on_where_it_was_rather_than_at_the_latest_place(
    said: list[int], expected: int
) -> None:
    """Each of two that are in progress: the form of a record, and what it is filled with."""
    lines = list(itertools.chain.from_iterable([10, 11, line, 20] for line in range(1, 8)))
    words = list(itertools.chain.from_iterable([30, word] for word in range(40, 48)))
    prompt = [*lines, *range(100, 200), *words]
    lookup = Lookup()
    lookup.confirm(lines.index(3) - 2, len(prompt))
    lookup.confirm(prompt.index(42) - 1, len(prompt))
    found = lookup.find([*prompt, *said], 4)
    assert found is not None
    assert found.tokens[0] == expected


def test_a_copy_that_skips_a_line_is_still_the_same_one() -> None:
    lines = list(itertools.chain.from_iterable([10, 11, line, 20] for line in range(1, 8)))
    lookup = Lookup()
    lookup.confirm(0, 1000)  # another one: were there three, it would be forgotten
    for place in (lines.index(2), lines.index(4) - 2):
        lookup.confirm(place, len(lines))
    found = lookup.find([*lines, 10, 11], 4)
    assert found is not None
    assert found.tokens[0] == 4
    far = lookup.find([*lines, 10, 11, *range(200, 1170), 10, 11], 4)
    assert far is not None
    assert far.tokens[0] == 1


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 8))
def test_every_guess_stood_there_behind_as_long_a_match(tokens: list[int], most: int) -> None:
    grown = Lookup()
    found = None
    for length in range(1, len(tokens) + 1):
        found = grown.find(tokens[:length], most)
    end = len(tokens)
    if found is None:
        assert tokens[-1] not in tokens[:-1]
        return
    assert tokens[found.place - found.match : found.place] == tokens[end - found.match :]
    assert list(found.tokens) == (tokens[found.place :] * most)[:most]


@pytest.mark.parametrize("worth", [1.0, 3.0])
def test_a_wrong_guess_is_paid_from_the_account(worth: float) -> None:
    """Whatever is guessed wrong, the sequence stays within three per cent and two steps."""
    costs = StepCosts()
    drafter = Drafter(costs)
    draw = random.Random(4)
    tokens = [draw.randrange(4) for _ in range(400)]
    time = 0.0
    for _ in range(1000):
        draft = drafter.draft(tokens, 100, worth=worth)
        time += costs.of(1 + len(draft))
        tokens.append(4 + draw.randrange(4) if draft else draw.randrange(4))
        if draft:
            drafter.learn(len(draft), 0)
    assert drafter.drafted == 0  # counted where tokens are drawn
    assert time <= 1000 * 1.02 + 2


def test_trust_grows_with_what_was_right() -> None:
    drafter = Drafter(StepCosts())
    text = list(range(200)) * 2
    lengths = []
    at = 202
    while at < 380:
        draft = drafter.draft(text[:at], 100)
        assert list(draft) == text[at : at + len(draft)]
        lengths.append(len(draft))
        drafter.learn(len(draft), len(draft))
        at += len(draft) + 1
    assert lengths[0] < lengths[-2]
    assert lengths[-2] > 10


@pytest.mark.parametrize("room", [0, -1, 1, 3])
def test_no_guess_is_longer_than_there_is_room(room: int) -> None:
    assert len(Drafter(FREE).draft([1, 2, 3, 4, 5, 6, 1, 2], room)) <= max(room, 0)


def drafted(desk: Desk) -> list[Chunk]:
    return [chunk for batch in desk.runner.batches for chunk in batch if chunk.drafted]


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"seed": 1}, {"temperature": 1}])
def test_an_answer_that_copies_takes_fewer_steps(sampling: dict[str, float]) -> None:
    params = SamplingParams(max_tokens=100, ignore_eos=True, **sampling)  # type: ignore[arg-type]
    desks = []
    for costs in (None, FREE):
        desk = Desk(FakeRunner(1, context_length=500, row_classes=ROWS, says=copied), costs)
        desk.add(tuple(range(40, 60)), params)
        desk.run()
        desk.check_answer(0)
        desks.append(desk)
    plain, guessing = desks
    assert plain.end(0).drafted_tokens == 0
    end = guessing.end(0)
    assert 0 < end.accepted_tokens < end.drafted_tokens
    assert len(plain.runner.batches) - len(guessing.runner.batches) == end.accepted_tokens


def test_answers_are_guessed_one_by_one_and_alike_whoever_else_is_served() -> None:
    params = SamplingParams(max_tokens=60, temperature=0, ignore_eos=True)
    prompts = [tuple(range(at, at + 20)) for at in (40, 41, 42)]
    alone = Desk(FakeRunner(1, context_length=500, row_classes=ROWS, says=copied), StepCosts())
    alone.add(prompts[0], params)
    alone.run()
    together = Desk(FakeRunner(3, context_length=500, row_classes=ROWS, says=copied), StepCosts())
    for prompt in prompts:
        together.add(prompt, params)
    together.run()
    assert drafted(alone)
    guesses = [chunk.tokens for chunk in drafted(alone)]
    assert guesses in [
        [chunk.tokens for chunk in drafted(together) if chunk.slot == slot] for slot in range(3)
    ]


def test_a_stop_string_within_a_guess_ends_the_answer() -> None:
    prompt = tuple(b"abcdefghij" * 4)
    params = SamplingParams(stop=("fg",), temperature=0, max_tokens=40)
    runner = FakeRunner(1, context_length=500, row_classes=ROWS, says=lambda rows: rows[-10])
    desk = Desk(runner, FREE)
    desk.add(prompt, params)
    desk.run()
    assert desk.text(0) == "abcde"
    assert drafted(desk)
    assert runner.lanes[0] == [*prompt, *b"abcdef"]  # nothing of the guess behind it
    assert desk.end(0).completion_tokens == 7


def test_a_guess_that_the_model_ends_with_is_taken() -> None:
    prompt = (*b"abcdefgh", END, *b"abcdefgh", END)

    def says(rows: Sequence[int]) -> int:
        return rows[-9]

    desk = Desk(FakeRunner(1, context_length=500, row_classes=ROWS, says=says), FREE)
    desk.add(prompt, SamplingParams(temperature=0))
    desk.run()
    assert desk.text(0) == "abcdefgh"
    assert drafted(desk)
    assert desk.runner.lanes[0] == [*prompt, *b"abcdefgh"]


def test_the_lane_and_the_limit_bound_a_guess() -> None:
    for limit in (None, 1, 2, 5):
        runner = FakeRunner(1, context_length=40, row_classes=ROWS, says=lambda rows: rows[-5])
        desk = Desk(runner, FREE)
        desk.add(tuple(range(40, 45)) * 4, SamplingParams(max_tokens=limit, temperature=0))
        desk.run()
        desk.check_answer(0)


def test_a_model_without_rows_is_not_guessed() -> None:
    runner = FakeRunner(1, context_length=500, keeps_rows=False, says=copied)
    desk = Desk(runner, FREE)
    desk.add(tuple(range(40, 60)), SamplingParams(max_tokens=40, ignore_eos=True))
    desk.run()
    assert not drafted(desk)


GREEDY = SamplingParams(max_tokens=100, temperature=0, ignore_eos=True)
PROSE = tuple(range(40, 60))


def prose(rows: Sequence[int]) -> int:
    """What a model says that does not repeat itself, nor come to an end."""
    return ord("a") + next_token(rows) % 26


def prose_runner() -> FakeRunner:
    return FakeRunner(1, context_length=500, row_classes=ROWS, says=prose)


def written_ahead(draft: FakeDraft, costs: StepCosts = FREE) -> Desk:
    desk = Desk(prose_runner(), costs, draft)
    desk.add(PROSE, GREEDY)
    desk.run()
    desk.check_answer(0)
    return desk


@pytest.mark.parametrize(("wrong", "fewest"), [(0, 85), (5, 60), (2, 20)])
def test_a_smaller_model_writes_ahead_where_the_text_has_nothing(wrong: int, fewest: int) -> None:
    desk = written_ahead(FakeDraft(says=prose, cost=0.01, wrong=wrong))
    end = desk.end(0)
    assert end.accepted_tokens >= fewest
    assert len(desk.runner.batches) <= 100 - end.accepted_tokens + len(PROSE)


def test_a_model_that_is_as_slow_is_not_asked() -> None:
    draft = FakeDraft(says=prose, cost=1.0)
    written_ahead(draft)
    assert not draft.written


def test_a_model_that_is_always_wrong_is_soon_left_alone() -> None:
    draft = FakeDraft(says=prose, cost=0.1, wrong=1)
    desk = written_ahead(draft, StepCosts())
    steps = sum(StepCosts().of(1 + len(chunk.tokens) - 1) for chunk in drafted(desk))
    assert desk.end(0).accepted_tokens == 0
    assert steps - len(drafted(desk)) + 0.1 * desk.end(0).drafted_tokens <= 100 * 0.03 + 2


@pytest.mark.parametrize(
    ("sampling", "forgotten"), [({"seed": 1}, [0, 0]), ({"temperature": 0.7}, [])]
)
def test_only_what_must_repeat_is_read_anew(
    sampling: dict[str, float], forgotten: list[int]
) -> None:
    draft = FakeDraft(says=prose, cost=0.01)
    desk = Desk(prose_runner(), FREE, draft)
    params = SamplingParams(max_tokens=20, ignore_eos=True, **sampling)  # type: ignore[arg-type]
    for _ in range(2):
        desk.add(PROSE, params)
        desk.run()
    assert draft.forgotten == forgotten
    assert draft.written


def test_behind_a_picture_it_is_not_asked() -> None:
    draft = FakeDraft(says=prose, cost=0.01)
    desk = Desk(prose_runner(), FREE, draft)
    desk.add(prompt_of([40, 41, (1, 3), 42, 43]), GREEDY)
    desk.run()
    desk.check_answer(0)
    assert not draft.written


def test_a_guess_is_filled_up_where_that_takes_less() -> None:
    fours = StepCosts(((1, 1.0), (2, 1.7), (3, 2.0), (4, 1.1), (LOGITS_ROWS, 9.0)))
    desk = Desk(FakeRunner(1, context_length=200, row_classes=ROWS, says=copied), fours)
    for number in range(40):  # where an answer ends, there is less to guess
        most = 60 + number if number % 2 else None
        desk.add((number, *range(39)), SamplingParams(max_tokens=most, ignore_eos=True, seed=1))
    desk.run()
    for request in desk.asked:
        desk.check_answer(request)
    short = [chunk for chunk in drafted(desk) if len(chunk.tokens) < 4]
    assert {len(chunk.tokens) for chunk in short} == {2, 3}
    for chunk in short:
        fits = chunk.start + 4 <= desk.runner.context_length
        assert len(chunk.tokens) + chunk.padding == (4 if fits else len(chunk.tokens))
    assert {chunk.start + 4 <= 200 for chunk in short} == {True, False}
    others = [chunk for batch in desk.runner.batches for chunk in batch if chunk not in short]
    answers = [chunk for chunk in others if chunk.sample and chunk.start >= 40]
    assert not any(chunk.padding for chunk in answers)
