"""Tokens are drawn as SamplingParams say, and as llama.cpp's own samplers would."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_cpp import llama_cpp as lib

from mistral_small_edge.engine.sampler import Sampler, drawn, likeliest, score, weigh
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LOGITS = np.array([2.0, 1.0, 0.5, -1.0], np.float32)
GREEDY = SamplingParams(temperature=0)
PLAIN = SamplingParams(temperature=1, seed=1)


def kept(params: SamplingParams, logits: NDArray[np.float32] = LOGITS) -> set[int]:
    """The tokens that may be drawn."""
    return set(np.flatnonzero(weigh(logits, params)).tolist())


def draw(params: SamplingParams, count: int) -> list[int]:
    sampler = Sampler(len(LOGITS), params, ())
    return [sampler.sample(LOGITS).token for _ in range(count)]


def noise(seed: int, size: int = 1000) -> NDArray[np.float32]:
    spread = np.random.default_rng(seed).normal(0, 3, size)
    return spread.astype(np.float32)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert draw(GREEDY, 5) == [0] * 5


def test_of_equally_likely_ones_the_first_is_taken() -> None:
    assert Sampler(3, GREEDY, ()).sample(np.array([0, 7, 7], np.float32)).token == 1


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-3])
def test_next_to_no_temperature_is_none(temperature: float) -> None:
    assert draw(replace(PLAIN, temperature=temperature), 20) == [0] * 20


def test_top_k_keeps_the_likeliest() -> None:
    assert kept(replace(PLAIN, top_k=2)) == {0, 1}
    assert kept(replace(PLAIN, top_k=9)) == {0, 1, 2, 3}


def test_top_k_keeps_no_more_where_several_are_equally_likely() -> None:
    assert kept(replace(PLAIN, top_k=2), np.array([1, 3, 1, 1], np.float32)) == {0, 1}


def test_min_p_drops_what_is_far_below_the_likeliest() -> None:
    # exp(1-2) = 0.37 of the likeliest, exp(0.5-2) = 0.22
    assert kept(replace(PLAIN, min_p=0.3)) == {0, 1}


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    # probabilities 0.60, 0.22, 0.13, 0.03
    assert kept(replace(PLAIN, top_p=0.5)) == {0}
    assert kept(replace(PLAIN, top_p=0.7)) == {0, 1}


def test_top_p_looks_as_far_as_it_has_to() -> None:
    flat = np.zeros(10_000, np.float32)
    assert len(kept(replace(PLAIN, top_p=0.75), flat)) == 7_500


def test_temperature_acts_before_top_p() -> None:
    # At temperature 0.15 the first token has 0.999: top_p 0.9 leaves it alone. Had the cut come
    # first, it would have left three.
    assert kept(replace(PLAIN, temperature=0.15, top_p=0.9)) == {0}
    assert len(kept(replace(PLAIN, top_p=0.9))) == 3


@pytest.mark.parametrize(
    "params",
    [
        PLAIN,
        replace(PLAIN, temperature=0.15),
        replace(PLAIN, temperature=2, top_k=40),
        replace(PLAIN, min_p=0.02),
        replace(PLAIN, top_p=0.9),
        replace(PLAIN, temperature=2, top_p=0.99),
        replace(PLAIN, temperature=0.7, top_p=0.8, top_k=30, min_p=0.01),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_probabilities_are_those_of_llama_cpps_own_samplers(
    params: SamplingParams, seed: int
) -> None:
    logits = noise(seed)
    ours = weigh(logits, params)
    theirs = np.zeros(len(logits))
    with chain(params) as samplers:
        candidates = (lib.llama_token_data * len(logits))(
            *(lib.llama_token_data(token, logit, 0.0) for token, logit in enumerate(logits))
        )
        array = lib.llama_token_data_array(candidates, len(logits), -1, False)
        lib.llama_sampler_apply(samplers, ctypes.byref(array))
        for at in range(array.size):
            theirs[int(array.data[at].id)] = array.data[at].p
    both = (ours > 0) & (theirs > 0)
    # Where theirs is summed up in single precision, the last one of top_p may be another.
    assert np.count_nonzero((ours > 0) | (theirs > 0)) - np.count_nonzero(both) <= 1
    assert ours[both] / ours.sum() == pytest.approx(theirs[both], rel=1e-3)


@contextmanager
def chain(params: SamplingParams) -> Iterator[Any]:
    samplers = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for part in (
        lib.llama_sampler_init_temp(params.temperature),
        lib.llama_sampler_init_min_p(params.min_p, 1),
        lib.llama_sampler_init_top_k(params.top_k),
        lib.llama_sampler_init_top_p(params.top_p, 1),
        lib.llama_sampler_init_dist(1),
    ):
        lib.llama_sampler_chain_add(samplers, part)
    yield samplers
    lib.llama_sampler_free(samplers)


@given(st.lists(st.sampled_from([0, 0, 1, 3, 0.5]), min_size=1, max_size=600), st.data())
def test_each_token_is_drawn_over_its_own_share(weights: list[float], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(weights) - 1))
    weights[at] = 2
    ends = np.cumsum(weights)
    # Sums of halves are exact: so are the borders between one token and the next.
    share = data.draw(st.floats(ends[at] - 2, ends[at], exclude_max=True)) / ends[-1]
    expected = int(np.searchsorted(ends, share * ends[-1], side="right"))
    assert drawn(np.array(weights, np.float32), share) == expected


@given(st.integers(0, 2**32), st.integers(1, 700), st.floats(0, 1, exclude_max=True))
def test_what_cannot_come_is_not_drawn(seed: int, size: int, share: float) -> None:
    weights = np.exp(noise(seed, size) * 4)
    weights[weights < np.median(weights)] = 0
    assert weights[drawn(weights, share)] > 0
    assert weights[drawn(weights, float(np.nextafter(1, 0)))] > 0


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=200), st.integers(0, 200))
def test_the_likeliest_come_in_order(values: list[int], count: int) -> None:
    count = min(count, len(values))
    expected = sorted(range(len(values)), key=lambda token: (-values[token], token))[:count]
    assert likeliest(np.array(values, np.float32), count).tolist() == expected


def test_draws_follow_the_probabilities() -> None:
    share = draw(SamplingParams(temperature=1, seed=5), 4000).count(0) / 4000
    assert share == pytest.approx(float(np.exp(2.0) / np.exp(LOGITS).sum()), abs=0.03)


@pytest.mark.parametrize("seed", [0, 1, -5, -(2**63), 2**32 - 1, 2**64 - 1])
def test_a_seed_repeats_its_draws(seed: int) -> None:
    params = SamplingParams(temperature=2, seed=seed)
    assert draw(params, 40) == draw(params, 40)
    assert draw(params, 40) != draw(replace(params, seed=seed // 2 + 7), 40)


def test_without_a_seed_draws_differ() -> None:
    assert len({tuple(draw(SamplingParams(temperature=2), 40)) for _ in range(4)}) == 4


def test_scores_are_of_the_model_itself() -> None:
    params = SamplingParams(temperature=0, logit_bias={3: 100}, top_logprobs=2)
    sampled = Sampler(len(LOGITS), params, ()).sample(LOGITS)
    assert sampled.token == 3
    assert sampled.score is not None
    scores = (sampled.score, *sampled.top)
    assert [one.token for one in scores] == [3, 0, 1]
    logprobs = LOGITS - np.log(np.exp(LOGITS.astype(np.float64)).sum())
    assert [one.logprob for one in scores] == pytest.approx(logprobs[[3, 0, 1]].tolist())


def test_no_others_are_scored_unless_asked_for() -> None:
    scored = score(LOGITS, 2, 0)
    assert scored.score is not None
    assert scored.top == ()
