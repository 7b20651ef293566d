"""Bias and penalties do to logits what SamplingParams say, token by token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mistral_small_edge.engine.penalties import Penalties
from mistral_small_edge.sampling_params import SamplingParams

LOGITS = np.array([2.0, 1.0, 0.5, -1.0], np.float32)
NONE = SamplingParams()


def left(
    params: SamplingParams,
    *,
    prompt: tuple[int, ...] = (),
    said: tuple[int, ...] = (),
    forbidden: tuple[int, ...] = (),
) -> list[float]:
    penalties = Penalties(len(LOGITS), params, prompt, forbidden)
    for token in said:
        penalties.accept(token)
    given = LOGITS.copy()
    found = penalties.apply(given)
    assert np.array_equal(given, LOGITS), "they are somebody else's"
    return [float(logit) for logit in found]


def test_nothing_asked_for_costs_nothing() -> None:
    assert Penalties(4, NONE, (1, 2)).apply(LOGITS) is LOGITS


@pytest.mark.parametrize("said", [(), (0,), (0, 0, 0, 1)])
def test_penalties_count_the_answer_and_are_subtracted(said: tuple[int, ...]) -> None:
    params = replace(NONE, frequency_penalty=0.5, presence_penalty=0.25)
    # The prompt is full of every token, and that must not matter.
    logits = left(params, prompt=(0, 1, 2, 3) * 50, said=said)
    for token, before in enumerate(LOGITS):
        penalty = 0.5 * said.count(token) + 0.25 * (token in said)
        assert logits[token] == pytest.approx(before - penalty)


def test_presence_counts_once_where_frequency_takes_it_back() -> None:
    params = replace(NONE, frequency_penalty=-1, presence_penalty=1)
    assert left(params, said=(0,) * 3)[0] == pytest.approx(2.0 + 3 - 1)


def test_penalties_never_forget() -> None:
    logits = left(replace(NONE, frequency_penalty=0.001), said=(1,) * 5000)
    assert logits[1] == pytest.approx(1.0 - 5.0, abs=1e-5)


def test_negative_penalties_encourage() -> None:
    assert left(replace(NONE, frequency_penalty=-2.0), said=(2,))[2] == pytest.approx(2.5)


def test_repeat_penalty_looks_back_into_the_prompt_and_no_further_than_64() -> None:
    params = replace(NONE, repeat_penalty=2.0)
    assert left(params, prompt=(2, *([3] * 63))) == [2.0, 1.0, 0.25, -2.0]
    assert left(params, prompt=(2, *([3] * 64))) == [2.0, 1.0, 0.5, -2.0]
    assert left(params, prompt=(2, *([3] * 63)), said=(0,)) == [1.0, 1.0, 0.5, -2.0]


def test_repeat_penalty_overlooks_pictures() -> None:
    assert left(replace(NONE, repeat_penalty=2.0), prompt=(0, -1, -4)) == [1.0, 1.0, 0.5, -1.0]


def test_bias_is_added_before_anything_else() -> None:
    params = replace(NONE, logit_bias={3: 4.5, 0: -100.0})
    assert left(params) == [-98.0, 1.0, 0.5, 3.5]
    assert left(replace(params, repeat_penalty=2.0), said=(0, 3)) == [-196.0, 1.0, 0.5, 1.75]


def test_what_is_forbidden_never_comes() -> None:
    params = replace(NONE, logit_bias={0: 100.0})
    assert left(params, forbidden=(0, 2)) == [-np.inf, 1.0, -np.inf, -1.0]
