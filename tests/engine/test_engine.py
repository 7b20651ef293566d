"""The engine under any order of arrivals, aborts, faults and steps."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.engine.backend import Batch, RowClasses
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.gathering import Gathering
from mistral_small_edge.engine.outputs import (
    Failed,
    Finished,
    FinishReason,
    Output,
    PromptProgress,
    TextOutput,
)
from mistral_small_edge.engine.passes import Passes
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.errors import ContextLengthExceeded, InvalidRequest
from mistral_small_edge.sampling_params import SamplingParams
from tests.fakes import (
    END,
    FakeDraft,
    FakeRunner,
    FakeTokenizer,
    answer,
    copied,
    next_token,
    picture,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHUNK = 6
ROWS = RowClasses(min_prefill_rows=3, max_repeatable_rows=2)


# Where a step costs the same for any number of rows, and moving them nothing.
GATHERING = Gathering(StepCosts(((1, 1.0), (32, 1.0))), 1e9, lambda _rows: True)
# Where four rows are computed at once, and two and three take longer; attending takes nothing.
FOURS = StepCosts(((1, 1.0), (2, 1.7), (3, 2.0), (4, 1.1), (32, 9.0)))
PASSES = Passes(FOURS, 1e9, lane=64)


def prompt_of(pieces: Sequence[int | tuple[int, int]]) -> Prompt:
    """Tokens, and pictures given by their names and rows."""
    tokens: list[int] = []
    pictures = []
    for piece in pieces:
        if isinstance(piece, int):
            tokens.append(piece)
            continue
        name, rows = piece
        pictures.append(picture(name, len(tokens), rows))
        tokens += [10] * rows
    return Prompt(tuple(tokens), tuple(pictures))


# Few different tokens and pictures, so that prompts share prefixes.
pieces = st.one_of(st.integers(0, 1), st.tuples(st.integers(0, 1), st.integers(1, 9)))
prompts = (
    st.one_of(
        st.lists(st.integers(0, 1), min_size=1, max_size=40),
        st.lists(pieces, min_size=1, max_size=12),
    )
    .map(prompt_of)
    .filter(lambda prompt: len(prompt) < 60)
)
params = st.builds(
    SamplingParams,
    max_tokens=st.one_of(st.none(), st.integers(1, 20)),
    temperature=st.sampled_from([0.0, 1.0]),
    seed=st.sampled_from([None, 7]),
)
steps = st.one_of(
    st.tuples(st.just("add"), prompts, params),
    st.tuples(st.just("abort"), st.integers(0, 30), st.none()),
    st.tuples(st.just("go on"), st.integers(0, 30), params),
    st.tuples(st.just("step"), st.none(), st.none()),
    st.tuples(st.just("idle"), st.none(), st.none()),
)


def make_engine(
    runner: FakeRunner,
    chunk: int = CHUNK,
    costs: StepCosts | None = None,
    draft_model: FakeDraft | None = None,
    gathering: Gathering | None = None,
    passes: Passes | None = None,
    at_once: int = 1,
) -> Engine:
    return Engine(
        runner,
        FakeTokenizer(),
        prefill_chunk=chunk,
        costs=costs,
        draft_model=draft_model,
        gathering=gathering,
        passes=passes,
        at_once=at_once,
        clock=lambda: 0.0,
    )


@dataclass
class Desk:
    """An engine, what it was asked and what it answered; checks the books after every step."""

    runner: FakeRunner
    costs: StepCosts | None = None
    draft_model: FakeDraft | None = None
    gathering: Gathering | None = None
    passes: Passes | None = None
    at_once: int = 1
    chunk: int = CHUNK
    asked: dict[int, tuple[Prompt, SamplingParams]] = field(default_factory=dict)
    aborted: set[int] = field(default_factory=set)
    outputs: dict[int, list[Output]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.engine = make_engine(
            self.runner,
            self.chunk,
            costs=self.costs,
            draft_model=self.draft_model,
            gathering=self.gathering,
            passes=self.passes,
            at_once=self.at_once,
        )

    def add(self, prompt: Prompt | Sequence[int], sampling: SamplingParams) -> int:
        request = len(self.asked)
        if not isinstance(prompt, Prompt):
            prompt = Prompt(tuple(prompt))
        for shown in prompt.pictures:
            self.runner.picture_rows[shown.image.digest] = shown.rows
        self.asked[request] = prompt, sampling
        self.engine.check(prompt, sampling)
        self.engine.add(request, prompt, sampling)
        return request

    def go_on(self, request: int, sampling: SamplingParams) -> None:
        """The next turn behind a request, if that has ended and there is room for one."""
        if request not in self.asked or not self.ended(request):
            return
        prompt, _ = self.asked[request]
        tokens = (*prompt.tokens, *self.text(request).encode(), 0, 1)
        if len(tokens) < self.runner.context_length:
            self.add(Prompt(tokens, prompt.pictures), sampling)

    def idle(self) -> None:
        self.engine.read_again()
        self.check_books()

    def abort(self, request: int) -> None:
        self.engine.abort(request)
        if request in self.asked and not self.ended(request):
            self.aborted.add(request)

    def step(self) -> None:
        for request, output in self.engine.step():
            assert request not in self.aborted, "an aborted request spoke"
            assert not self.ended(request), "a request ended twice"
            self.outputs[request].append(output)
        self.check_books()

    def run(self) -> None:
        for _ in range(10_000):
            if not self.engine.has_work:
                return
            self.step()
        raise AssertionError("the engine does not come to an end")

    def ended(self, request: int) -> bool:
        return any(isinstance(output, Finished | Failed) for output in self.outputs[request])

    def text(self, request: int) -> str:
        outputs = self.outputs[request]
        return "".join(output.text for output in outputs if isinstance(output, TextOutput))

    def end(self, request: int) -> Finished:
        last = self.outputs[request][-1]
        assert isinstance(last, Finished)
        return last

    def check_books(self) -> None:
        self.engine.cache.check_integrity()
        running = [seq for seq in self.engine.scheduler.live if seq.slot >= 0]
        slots = [sequence.slot for sequence in running]
        assert len(slots) == len(set(slots)), "two sequences in one slot"
        assert self.engine.cache.num_free == self.runner.max_sequences - len(slots)
        for sequence in running:
            lane = self.runner.lanes[sequence.slot]
            assert lane == sequence.tokens[: sequence.num_computed]
        looking = [look for look in self.runner.looks if not look.closed]
        wanted = {shown.image.digest for seq in running for shown in seq.prompt.pictures}
        assert {look.image.digest for look in looking} <= wanted, "nobody waits for this picture"

    def check_answer(self, request: int) -> None:
        prompt, sampling = self.asked[request]
        room = self.runner.context_length - len(prompt)
        most = min(sampling.max_tokens or room, room)
        expected = answer(prompt.identity(), most, self.runner.says)
        finished = self.end(request)
        assert self.text(request) == bytes(t for t in expected if t != END).decode()
        assert finished.completion_tokens == len(expected)
        assert finished.prompt_tokens == len(prompt)
        stopped = expected[-1] == END
        assert finished.reason is (FinishReason.STOP if stopped else FinishReason.LENGTH)


Script = list[tuple[str, Prompt | int | None, SamplingParams | None]]


# Scripts, and what they are played with, for tests of one kind of runner.
schedules = given(
    script=st.lists(steps, max_size=60),
    slots=st.integers(1, 4),
    costs=st.sampled_from([None, StepCosts(((1, 1.0), (32, 1.0)))]),
    says=st.sampled_from([next_token, copied]),
)


def play(desk: Desk, script: Script) -> None:
    """Do as the script says, and then what is left to be done; check every answer."""
    for verb, what, sampling in script:
        if verb == "add":
            assert isinstance(what, Prompt)
            assert sampling is not None
            desk.add(what, sampling)
        elif verb == "abort":
            assert isinstance(what, int)
            desk.abort(what)
        elif verb == "go on":
            assert isinstance(what, int)
            assert sampling is not None
            desk.go_on(what, sampling)
        elif verb == "idle":
            desk.idle()
        else:
            desk.step()
    desk.run()
    for request in desk.asked.keys() - desk.aborted:
        desk.check_answer(request)


def check_batch(batch: Batch, asked_repeatable: bool) -> None:
    slots = [chunk.slot for chunk in batch]
    assert slots == sorted(slots), "llama.cpp computes only neighbours in one pass"
    sizes = [len(chunk.tokens) - chunk.drafted for chunk in batch]
    assert any(sizes), "a batch for nobody"
    rows = {len(chunk.tokens) + chunk.padding for chunk in batch}
    if max(rows) > 1:
        assert len(sizes) <= ROWS.shared_prompts, "too many prompts share a batch"
        assert len(rows) == 1, "llama.cpp would cut it up"
        assert len(sizes) == 1 or sum(rows) * len(sizes) <= max(CHUNK, 2 * ROWS.min_prefill_rows)
    assert max(sizes) <= max(CHUNK, 2 * ROWS.min_prefill_rows), "a chunk is over its budget"
    if asked_repeatable:
        assert len(sizes) <= ROWS.max_repeatable_rows


@settings(max_examples=300, deadline=None)
@given(
    script=st.lists(steps, max_size=60),
    slots=st.integers(1, 4),
    remembers=st.booleans(),
    costs=st.sampled_from([None, StepCosts(), StepCosts(((1, 1.0), (32, 1.0)))]),
    says=st.sampled_from([next_token, copied]),
    gathers=st.booleans(),
    fills=st.booleans(),
)
def test_any_schedule_gives_every_request_its_own_answer_once(
    script: Script,
    slots: int,
    remembers: bool,
    costs: StepCosts | None,
    says: Callable[[Sequence[int]], int],
    gathers: bool,
    fills: bool,
) -> None:
    runner = FakeRunner(slots, row_classes=ROWS, remembers=remembers, says=says)
    desk = Desk(
        runner,
        costs,
        gathering=GATHERING if gathers else None,
        passes=PASSES if fills else None,
    )
    play(desk, script)
    for batch in desk.runner.batches:
        check_batch(batch, all(sampling.repeatable for _, sampling in desk.asked.values()))
    assert desk.engine.cache.num_free == slots


@settings(max_examples=150, deadline=None)
@given(
    jobs=st.lists(st.tuples(prompts, params), min_size=1, max_size=8),
    faults=st.sets(st.integers(0, 60), max_size=4),
)
def test_a_failed_batch_fails_its_requests_and_no_others(
    jobs: list[tuple[Prompt, SamplingParams]], faults: set[int]
) -> None:
    runner = FakeRunner(max_sequences=3, row_classes=ROWS, says=copied)
    runner.fail_on = lambda _batch: len(runner.batches) - 1 in faults
    desk = Desk(runner, StepCosts())
    for prompt, sampling in jobs:
        desk.add(prompt, sampling)
    desk.run()
    failed = [r for r in desk.asked if isinstance(desk.outputs[r][-1], Failed)]
    for request in desk.asked.keys() - set(failed):
        desk.check_answer(request)
    hit = [batch for at, batch in enumerate(runner.batches) if at in faults]
    assert len(failed) == sum(len(batch) for batch in hit)


def test_a_second_turn_computes_only_what_is_new() -> None:
    desk = Desk(FakeRunner(max_sequences=2, context_length=500, row_classes=ROWS))
    sampling = SamplingParams(max_tokens=10, temperature=1)
    first = desk.add(tuple(range(50)), sampling)
    desk.run()
    so_far = (*range(50), *answer(range(50), 10))
    second = desk.add((*so_far[:-1], 7, 8, 9, 10), sampling)
    desk.run()
    assert desk.end(first).cached_tokens == 0
    assert desk.end(second).cached_tokens == len(so_far) - 1
    desk.check_answer(second)


def test_a_model_without_rows_computes_every_prompt_whole() -> None:
    desk = Desk(FakeRunner(max_sequences=1, context_length=500, keeps_rows=False))
    for _ in range(2):
        request = desk.add(tuple(range(50)), SamplingParams(max_tokens=10))
        desk.run()
        assert desk.end(request).cached_tokens == 0
        desk.check_answer(request)


def test_a_repeatable_request_reuses_prompt_rows_but_not_answer_rows() -> None:
    desk = Desk(FakeRunner(max_sequences=1, context_length=500, row_classes=ROWS))
    desk.add(tuple(range(50)), SamplingParams(max_tokens=10, temperature=1))
    desk.run()
    so_far = (*range(50), *answer(range(50), 10), 7, 8, 9, 10)
    again = desk.add(so_far, SamplingParams(max_tokens=10, temperature=0))
    desk.run()
    assert desk.end(again).cached_tokens == 50


def test_answer_rows_stay_suspect_under_a_later_prompt() -> None:
    desk = Desk(FakeRunner(max_sequences=1, context_length=500, row_classes=ROWS))
    desk.add(tuple(range(50)), SamplingParams(max_tokens=10, temperature=1))
    desk.run()
    so_far = (*range(50), *answer(range(50), 10)[:-1], 7, 8, 9, 10)
    desk.add(so_far, SamplingParams(max_tokens=5, temperature=1))  # builds on answer rows
    desk.run()
    again = desk.add((*so_far, 1, 2, 3, 4), SamplingParams(max_tokens=5, seed=1))
    desk.run()
    assert desk.end(again).cached_tokens == 50


def test_a_chunk_below_the_class_border_is_never_reused_by_a_repeatable_request() -> None:
    desk = Desk(FakeRunner(max_sequences=1, row_classes=ROWS))
    desk.add((1, 2), SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0))
    desk.run()
    again = desk.add((1, 2, 3, 4, 5, 6, 7), SamplingParams(max_tokens=1, temperature=0))
    desk.run()
    assert desk.end(again).cached_tokens == 0


def test_a_short_chunk_is_padded_to_its_class() -> None:
    desk = Desk(FakeRunner(max_sequences=1, row_classes=ROWS))
    desk.add((1, 2), SamplingParams(max_tokens=1, temperature=0))
    desk.run()
    again = desk.add((1, 2, 3, 4, 5, 6, 7), SamplingParams(max_tokens=1, temperature=0))
    desk.run()
    assert desk.end(again).cached_tokens == 2
    assert [chunk.padding for (chunk,) in desk.runner.batches] == [1, 0]


def test_where_a_lane_ends_rows_are_computed_again_rather_than_padded() -> None:
    desk = Desk(FakeRunner(max_sequences=1, context_length=20, row_classes=ROWS))
    for last in (2, 1):
        request = desk.add((*[1] * 18, last), SamplingParams(max_tokens=1, temperature=0))
        desk.run()
        desk.check_answer(request)
    assert desk.end(request).cached_tokens == 19 - ROWS.min_prefill_rows
    assert desk.runner.batches[-1][0].padding == 0


def test_a_long_prompt_lets_running_answers_through_between_its_chunks() -> None:
    desk = Desk(FakeRunner(max_sequences=2, context_length=500, row_classes=ROWS))
    running = desk.add((3,), SamplingParams(max_tokens=40, ignore_eos=True))
    desk.step()
    desk.add((4,) * (CHUNK * 5), SamplingParams(max_tokens=1))
    desk.run()
    after = desk.runner.batches[1:]
    prefills = [at for at, batch in enumerate(after) if len(batch[0].tokens) > 1]
    assert len(prefills) == 5
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(prefills))
    assert desk.end(running).completion_tokens == 40


def test_an_abort_in_prefill_takes_effect_within_one_chunk() -> None:
    desk = Desk(FakeRunner(max_sequences=1, context_length=500, row_classes=ROWS))
    request = desk.add((4,) * (CHUNK * 9), SamplingParams())
    desk.step()
    desk.step()
    desk.abort(request)
    assert not desk.engine.has_work
    assert len(desk.runner.batches) == 1
    # What it had computed is there for the next one.
    again = desk.add((4,) * (CHUNK * 9), SamplingParams(max_tokens=1))
    desk.run()
    assert desk.end(again).cached_tokens == CHUNK


def test_progress_counts_up_to_the_whole_prompt() -> None:
    desk = Desk(FakeRunner(max_sequences=1, context_length=500, row_classes=ROWS))
    request = desk.add(tuple(range(20)), SamplingParams(max_tokens=1))
    desk.run()
    progress = [out for out in desk.outputs[request] if isinstance(out, PromptProgress)]
    assert [out.processed for out in progress] == [0, 6, 12, 17, 20]
    assert {out.total for out in progress} == {20}


def test_scores_come_with_the_text_they_belong_to() -> None:
    desk = Desk(FakeRunner(max_sequences=1, context_length=500, row_classes=ROWS))
    full = bytes(answer((5, 6), 12)).decode()
    stop = full[6:8]
    cut = full.index(stop)
    request = desk.add((5, 6), SamplingParams(max_tokens=12, top_logprobs=0, stop=(stop,)))
    desk.run()
    outputs = [out for out in desk.outputs[request] if isinstance(out, TextOutput)]
    scored = b"".join(token.chosen.piece for out in outputs for token in out.scored)
    assert scored.decode() == desk.text(request) == full[:cut]
    assert desk.end(request).reason is FinishReason.STOP


def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers() -> None:
    engine = make_engine(FakeRunner(context_length=64))
    engine.check(Prompt((1,) * 63), SamplingParams())
    with pytest.raises(ContextLengthExceeded) as caught:
        engine.check(Prompt((1,) * 64), SamplingParams())
    assert (caught.value.prompt_tokens, caught.value.limit) == (64, 64)


@pytest.mark.parametrize(
    ("prompt", "sampling", "param"),
    [
        ((), SamplingParams(), "messages"),
        ((1,), SamplingParams(logit_bias={300: 1.0}), "logit_bias"),
        ((1,), SamplingParams(logit_bias={-1: 1.0}), "logit_bias"),
        ((1, (0, 5)), SamplingParams(prompt_logprobs=0), "prompt_logprobs"),
    ],
)
def test_what_can_never_be_computed_is_refused_by_name(
    prompt: tuple[int | tuple[int, int], ...], sampling: SamplingParams, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_engine(FakeRunner()).check(prompt_of(prompt), sampling)
    assert caught.value.param == param


@pytest.mark.parametrize(("lengths", "first_round"), [((2, 2, 2), 3), ((2, 5, 2), 1), ((6, 2), 1)])
def test_prompts_take_a_turn_together_if_one_chunk_would_hold_them(
    lengths: tuple[int, ...], first_round: int
) -> None:
    desk = Desk(FakeRunner(4, context_length=100, row_classes=ROWS, says=copied))
    running = desk.add((40, 41, 42), SamplingParams(max_tokens=40, ignore_eos=True))
    while not desk.text(running):
        desk.step()
    for start, length in enumerate(lengths, 50):
        desk.add(range(start, start + 10 * length, 10), SamplingParams(max_tokens=4))
    slot, before = desk.runner.batches[-1][0].slot, len(desk.runner.batches)
    desk.run()
    answered = [any(c.slot == slot for c in batch) for batch in desk.runner.batches[before:]]
    turn = itertools.takewhile(lambda one: not one, itertools.dropwhile(lambda one: one, answered))
    assert len(list(turn)) == first_round
