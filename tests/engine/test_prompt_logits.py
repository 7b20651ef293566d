"""A prompt that was read whole is not read again, not even for the first token of its answer."""

from __future__ import annotations

import numpy as np
import pytest

from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.engine.prompt_logits import PromptLogits
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import ROWS, Desk
from tests.fakes import FakeRunner, copied, picture

SEEDED = SamplingParams(max_tokens=5, seed=7, ignore_eos=True)
DRAWN = SamplingParams(max_tokens=5, temperature=1, ignore_eos=True)
TEXT = tuple(n % 7 for n in range(20))
SHORT = (1, 2)  # by itself below the border of the class
PICTURED = Prompt((5, *[9] * 6, 8), (picture(1, 1, 6),))


def desk(slots: int = 2) -> Desk:
    return Desk(FakeRunner(slots, context_length=100, row_classes=ROWS, says=copied))


def prompt_rows(asked: Desk, since: int = 0) -> int:
    """Rows that were computed of prompts; an answer's come one by one."""
    batches = asked.runner.batches[since:]
    return sum(len(chunk.tokens) for batch in batches for chunk in batch if len(chunk.tokens) > 1)


@pytest.mark.parametrize("params", [SEEDED, DRAWN])
@pytest.mark.parametrize("prompt", [Prompt(TEXT), PICTURED])
def test_the_same_again_computes_nothing_of_the_prompt(
    prompt: Prompt, params: SamplingParams
) -> None:
    asked = desk()
    asked.add(prompt, params)
    asked.run()
    before = len(asked.runner.batches)
    again = asked.add(prompt, params)
    asked.run()
    asked.check_answer(again)
    assert asked.end(again).cached_tokens == len(prompt)
    assert len(asked.runner.batches) - before == 4, "a step for each token but the first"
    assert prompt_rows(asked, before) == 0


def test_several_answers_to_one_prompt_read_it_once() -> None:
    asked = desk(slots=4)
    requests = [asked.add(TEXT, SEEDED) for _ in range(4)]
    asked.run()
    for request in requests:
        asked.check_answer(request)
    assert prompt_rows(asked) == len(TEXT)


def test_what_goes_on_behind_it_is_read() -> None:
    asked = desk()
    asked.add(TEXT, DRAWN)
    asked.run()
    longer = asked.add((*TEXT, 60, 61), DRAWN)
    asked.run()
    asked.check_answer(longer)
    assert asked.end(longer).cached_tokens == len(TEXT)


def test_where_the_rows_are_gone_the_prompt_is_read_again() -> None:
    asked = desk(slots=1)
    for prompt in (TEXT, tuple(range(50, 70)), TEXT):
        request = asked.add(prompt, SEEDED)
        asked.run()
        asked.check_answer(request)
        assert asked.end(request).cached_tokens == 0


def test_what_must_repeat_takes_nothing_that_was_computed_otherwise() -> None:
    asked = desk()
    drawn = asked.add(SHORT, DRAWN)
    asked.run()
    again, seeded, after = (asked.add(SHORT, params) for params in (DRAWN, SEEDED, SEEDED))
    asked.run()
    assert asked.end(drawn).cached_tokens == 0
    assert asked.end(again).cached_tokens == len(SHORT)
    assert asked.end(seeded).cached_tokens == 0
    for request in (drawn, again, seeded, after):
        asked.check_answer(request)


def test_scores_of_the_prompt_are_computed() -> None:
    asked = desk()
    asked.add(TEXT, DRAWN)
    asked.run()
    scored = asked.add(TEXT, SamplingParams(max_tokens=2, prompt_logprobs=0))
    asked.run()
    assert asked.end(scored).cached_tokens == 0


ONE, TWO, THREE = (np.full(2, number, np.float32) for number in (1, 2, 3))


def test_the_last_prompts_are_kept() -> None:
    logits = PromptLogits(2)
    for name, row in ((b"one", ONE), (b"two", TWO)):
        logits.keep(name, row, exact=True)
    assert logits.find(b"one", exact=True) is ONE
    logits.keep(b"three", THREE, exact=True)
    assert logits.find(b"two", exact=False) is None
    assert logits.find(b"one", exact=False) is ONE


def test_what_repeats_is_not_replaced_by_what_need_not() -> None:
    logits = PromptLogits()
    logits.keep(b"prompt", ONE, exact=False)
    assert logits.find(b"prompt", exact=True) is None
    logits.keep(b"prompt", TWO, exact=True)
    logits.keep(b"prompt", THREE, exact=False)
    assert logits.find(b"prompt", exact=True) is logits.find(b"prompt", exact=False) is TWO
