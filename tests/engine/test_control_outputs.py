"""Control tokens in an answer: told apart from text, in their place, never torn by a stop string."""

from __future__ import annotations

from itertools import groupby

import pytest

from mistral_small_edge.engine.detokenizer import Detokenizer
from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.outputs import ControlOutput, Finished, FinishReason, TextOutput
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.sampling_params import SamplingParams
from tests.fakes import END, VOCAB, FakeRunner, FakeTokenizer, answer

VOWELS = frozenset(b"aeiou")


def outputs(prompt: tuple[int, ...], params: SamplingParams) -> tuple[list[str | int], Finished]:
    tokenizer = FakeTokenizer(controls=VOWELS | frozenset(range(256, VOCAB)))
    engine = Engine(FakeRunner(context_length=400), tokenizer, prefill_chunk=16)
    engine.add(0, Prompt(prompt), params)
    said: list[str | int] = []
    while engine.has_work:
        for _, output in engine.step():
            match output:
                case TextOutput(text):
                    before = said.pop() if said and isinstance(said[-1], str) else ""
                    said.append(f"{before}{text}")
                case ControlOutput(token):
                    said.append(token)
                case Finished():
                    end = output
    return said, end


@pytest.mark.parametrize("seed", range(12))
def test_controls_come_in_their_place(seed: int) -> None:
    prompt = (seed, 1, 2)
    said, _ = outputs(prompt, SamplingParams(max_tokens=60))
    tokens = [token for token in answer(prompt, 60) if token != END]
    groups = [list(group) for _, group in groupby(tokens, VOWELS.__contains__)]
    expected = [
        part
        for group in groups
        for part in (group if group[0] in VOWELS else [bytes(group).decode()])
    ]
    assert said == expected


@pytest.mark.parametrize("seed", range(12))
def test_what_may_begin_a_stop_is_let_out_by_a_control(seed: int) -> None:
    """A stop of a consonant, a vowel: never complete, as no vowel is text here."""
    prompt = (seed, 1, 2)
    stops = tuple(f"{chr(token)}a" for token in range(ord("a"), ord("e")))
    said, end = outputs(prompt, SamplingParams(max_tokens=60, stop=stops))
    plain, _ = outputs(prompt, SamplingParams(max_tokens=60))
    assert said == plain
    assert end.completion_tokens == len(answer(prompt, 60))


def test_a_stop_before_a_control_keeps_it_unsaid() -> None:
    prompt = next(
        (seed, 1, 2)
        for seed in range(200)
        if (first := answer((seed, 1, 2), 2))[1:] and first[0] not in VOWELS and first[1] in VOWELS
    )
    stop = chr(answer(prompt, 1)[0])
    said, end = outputs(prompt, SamplingParams(max_tokens=60, stop=(stop,)))
    assert (said, end.reason) == ([], FinishReason.STOP)


def test_half_a_character_before_a_control_is_shown_as_unreadable() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed("é".encode()[:1]) == ""
    assert detokenizer.control() == "\N{REPLACEMENT CHARACTER}"
    assert detokenizer.feed("é".encode()) == "é"


def test_stops_end_no_text_once_dropped() -> None:
    detokenizer = Detokenizer(("x",))
    detokenizer.control()
    detokenizer.drop_stops()
    assert detokenizer.feed(b"axb") == "axb"
    assert not detokenizer.stopped


def test_controls_are_scored_as_text_is() -> None:
    tokenizer = FakeTokenizer(controls=VOWELS | frozenset(range(256, VOCAB)))
    engine = Engine(FakeRunner(context_length=400), tokenizer, prefill_chunk=16)
    engine.add(0, Prompt((1, 1, 2)), SamplingParams(max_tokens=60, top_logprobs=1))
    controls = []
    while engine.has_work:
        controls += [one for _, one in engine.step() if isinstance(one, ControlOutput)]
    assert controls
    for control in controls:
        assert control.scored is not None
        assert control.scored.chosen.logprob == 0  # the fake is sure of what it says
        assert len(control.scored.top) == 1
