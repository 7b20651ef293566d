"""The sampler chain does what SamplingParams say, token by token."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from llama_cpp import llama_cpp as lib

from mistral_small_edge.llama.sampler import LlamaSampler
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Sequence

LOGITS = (2.0, 1.0, 0.5, -1.0)


class Dice:
    """A sampler over logits of our own instead of a model's."""

    def __init__(self, params: SamplingParams, prompt: tuple[int, ...] = ()) -> None:
        self._sampler = LlamaSampler(None, len(LOGITS), params, prompt)

    def apply(self, logits: Sequence[float] = LOGITS) -> tuple[dict[int, float], int]:
        """What is left of the candidates (id -> logit) and which one is chosen."""
        data = (lib.llama_token_data * len(logits))(
            *(lib.llama_token_data(token, logit, 0.0) for token, logit in enumerate(logits))
        )
        array = lib.llama_token_data_array(data, len(logits), -1, False)
        lib.llama_sampler_apply(self._sampler._chain, array)
        left = {int(array.data[at].id): float(array.data[at].logit) for at in range(array.size)}
        return left, int(array.data[array.selected].id)

    def accept(self, *tokens: int) -> None:
        for token in tokens:
            lib.llama_sampler_accept(self._sampler._chain, token)

    def draw(self, count: int) -> list[int]:
        return [self.apply()[1] for _ in range(count)]

    def close(self) -> None:
        self._sampler.close()


def left(
    params: SamplingParams, *, prompt: tuple[int, ...] = (), said: tuple[int, ...] = ()
) -> dict[int, float]:
    dice = Dice(params, prompt)
    dice.accept(*said)
    logits, _ = dice.apply()
    dice.close()
    return logits


GREEDY = SamplingParams(temperature=0)
PLAIN = SamplingParams(temperature=1, seed=1)


def test_temperature_zero_takes_the_likeliest() -> None:
    dice = Dice(GREEDY)
    assert dice.draw(5) == [0] * 5
    dice.close()


@pytest.mark.parametrize("said", [(), (0,), (0, 0, 0, 1)])
def test_penalties_count_the_answer_and_are_subtracted(said: tuple[int, ...]) -> None:
    params = replace(GREEDY, frequency_penalty=0.5, presence_penalty=0.25)
    # The prompt is full of every token, and that must not matter.
    logits = left(params, prompt=(0, 1, 2, 3) * 50, said=said)
    for token, before in enumerate(LOGITS):
        penalty = 0.5 * said.count(token) + 0.25 * (token in said)
        assert logits[token] == pytest.approx(before - penalty)


def test_penalties_never_forget() -> None:
    logits = left(replace(GREEDY, frequency_penalty=0.001), said=(1,) * 5000)
    assert logits[1] == pytest.approx(1.0 - 5.0, abs=1e-3)


def test_negative_penalties_encourage() -> None:
    assert left(replace(GREEDY, frequency_penalty=-2.0), said=(2,))[2] == pytest.approx(2.5)


def test_repeat_penalty_looks_back_into_the_prompt_and_no_further_than_64() -> None:
    params = replace(GREEDY, repeat_penalty=2.0)
    logits = left(params, prompt=(2, *([3] * 63)))
    assert logits == {0: 2.0, 1: 1.0, 2: pytest.approx(0.25), 3: pytest.approx(-2.0)}
    assert left(params, prompt=(2, *([3] * 64)))[2] == 0.5


def test_logit_bias_is_added() -> None:
    assert left(replace(GREEDY, logit_bias={3: 4.5, 0: -100.0})) == {
        0: pytest.approx(-98.0),
        1: 1.0,
        2: 0.5,
        3: 3.5,
    }


def test_top_k_keeps_the_likeliest() -> None:
    assert left(replace(PLAIN, top_k=2)).keys() == {0, 1}


def test_min_p_drops_what_is_far_below_the_likeliest() -> None:
    # exp(1-2) = 0.37 of the likeliest, exp(0.5-2) = 0.22
    assert left(replace(PLAIN, min_p=0.3)).keys() == {0, 1}


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    # probabilities 0.60, 0.22, 0.13, 0.03
    assert left(replace(PLAIN, top_p=0.5)).keys() == {0}
    assert left(replace(PLAIN, top_p=0.7)).keys() == {0, 1}


def test_temperature_acts_before_top_p() -> None:
    # At temperature 0.15 the first token has 0.999: top_p 0.9 leaves it alone. Had the cut come
    # first, it would have left three.
    assert left(replace(PLAIN, temperature=0.15, top_p=0.9)).keys() == {0}
    assert len(left(replace(PLAIN, top_p=0.9))) == 3


def test_draws_follow_the_probabilities() -> None:
    dice = Dice(SamplingParams(temperature=1, seed=5))
    share = dice.draw(4000).count(0) / 4000
    dice.close()
    total = sum(math.exp(logit) for logit in LOGITS)
    assert share == pytest.approx(math.exp(2.0) / total, abs=0.03)


@pytest.mark.parametrize("seed", [0, 1, -5, 2**32 - 1, 2**64 - 1])
def test_a_seed_repeats_its_draws(seed: int) -> None:
    draws = []
    for _ in range(2):
        dice = Dice(SamplingParams(temperature=2, seed=seed))
        draws.append(dice.draw(40))
        dice.close()
    assert draws[0] == draws[1]


def test_without_a_seed_draws_differ() -> None:
    draws = set()
    for _ in range(4):
        dice = Dice(SamplingParams(temperature=2))
        draws.add(tuple(dice.draw(40)))
        dice.close()
    assert len(draws) == 4
