"""Constrained answers: kept to what may come, ended when nothing may, failing alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.outputs import Failed, Finished, FinishReason, TextOutput
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.errors import InvalidGrammar
from mistral_small_edge.sampling_params import SamplingParams
from tests.fakes import END, VOCAB, FakeRunner, FakeTokenizer

CALL = 256  # a control token of the fake vocabulary


@dataclass
class Script:
    """Allows one set of tokens after the other, then nothing; breaks at `breaks_at`."""

    places: list[frozenset[int]]
    breaks_at: int = -1
    forbidden: tuple[int, ...] = ()
    prose_until: int | None = None
    accepted: list[int] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return len(self.accepted) == len(self.places)

    def allowed(self) -> bytes | None:
        if len(self.accepted) == self.breaks_at:
            raise InvalidGrammar("too large", "response_format")
        mask = sum(1 << token for token in self.places[len(self.accepted)])
        return mask.to_bytes(VOCAB // 8 + 1, "little")

    def forced(self) -> tuple[int, ...]:
        """Of two that may come, the first: the other is another way to spell it."""
        coming = itertools.takewhile(
            lambda place: len(place) <= 2, self.places[len(self.accepted) :]
        )
        return tuple(map(min, coming))

    def accept(self, token: int) -> None:
        self.accepted.append(token)


def run(engine: Engine) -> dict[int, tuple[str, list[object]]]:
    """By request: the text, and how it ended."""
    said: dict[int, tuple[str, list[object]]] = {}
    while engine.has_work:
        for request, output in engine.step():
            text, ends = said.get(request, ("", []))
            match output:
                case TextOutput(more):
                    text += more
                case Finished() | Failed():
                    ends = [*ends, output]
            said[request] = text, ends
    return said


places = st.lists(
    st.frozensets(st.integers(ord("a"), ord("z")), min_size=1), min_size=1, max_size=8
)


@given(st.lists(places, min_size=1, max_size=5), st.sampled_from([None, StepCosts()]))
def test_every_answer_is_kept_to_its_own_constraint(
    scripts: list[list[frozenset[int]]], costs: StepCosts | None
) -> None:
    runner = FakeRunner(max_sequences=3)
    engine = Engine(runner, FakeTokenizer(), prefill_chunk=16, costs=costs)
    constraints = [Script(script) for script in scripts]
    for request, constraint in enumerate(constraints):
        engine.add(request, Prompt((request, 1)), SamplingParams(), constraint)
    for request, (text, ends) in run(engine).items():
        constraint = constraints[request]
        assert [ord(letter) for letter in text] == constraint.accepted
        assert len(text) == len(constraint.places)
        for token, allowed in zip(constraint.accepted, constraint.places, strict=True):
            assert token in allowed
        (end,) = ends
        assert isinstance(end, Finished)
        # No step was spent on asking a model that may say nothing more.
        assert (end.reason, end.completion_tokens) == (FinishReason.STOP, len(text))


@pytest.mark.parametrize("step", range(4))
def test_a_constraint_that_breaks_fails_its_own_request_and_no_other(step: int) -> None:
    engine = Engine(FakeRunner(), FakeTokenizer(), prefill_chunk=16)
    letters = [frozenset({ord("x")})] * 4
    engine.add(0, Prompt((1, 2)), SamplingParams(), Script(letters, breaks_at=step))
    engine.add(1, Prompt((3, 4)), SamplingParams(), Script(letters))
    said = run(engine)
    assert said[0][0] == "x" * step
    (failed,) = said[0][1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidGrammar)
    assert said[1][0] == "xxxx"
    engine.cache.check_integrity()
    assert engine.cache.num_free == 2


@pytest.mark.parametrize(("prose_until", "text"), [(CALL, "axbx"), (None, "ax")])
def test_stop_strings_are_looked_for_in_prose_alone(prose_until: int | None, text: str) -> None:
    tokens = [ord("a"), CALL, ord("x"), ord("b"), ord("x")]
    constraint = Script([frozenset({token}) for token in tokens], prose_until=prose_until)
    engine = Engine(FakeRunner(), FakeTokenizer(), prefill_chunk=16)
    engine.add(0, Prompt((1, 2)), SamplingParams(stop=("bx",)), constraint)
    shown, (end,) = run(engine)[0]
    assert shown == text
    assert isinstance(end, Finished)


def test_an_end_that_is_allowed_ends_the_answer() -> None:
    constraint = Script([frozenset({ord("a")}), frozenset({END}), frozenset({ord("b")})])
    engine = Engine(FakeRunner(), FakeTokenizer(), prefill_chunk=16)
    engine.add(0, Prompt((1, 2)), SamplingParams(), constraint)
    text, (end,) = run(engine)[0]
    assert text == "a"
    assert isinstance(end, Finished)
    assert end.completion_tokens == 2


def test_what_is_forced_takes_no_steps_of_its_own() -> None:
    letters = [frozenset({ord(letter)}) for letter in "abcdefgh"]
    runner = FakeRunner()
    engine = Engine(runner, FakeTokenizer(), prefill_chunk=16, costs=StepCosts())
    engine.add(0, Prompt((1, 2)), SamplingParams(), Script(letters))
    text, (end,) = run(engine)[0]
    assert text == "abcdefgh"
    assert isinstance(end, Finished)
    assert end.accepted_tokens > 3
    # One that reads the prompt, and each other one for what was not accepted.
    assert len(runner.batches) == 1 + (len(text) - 1 - end.accepted_tokens)
