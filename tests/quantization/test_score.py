"""Perplexity and agreement, by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.chat.deltas import Alternative, TokenLogprob
from mistral_small_edge.quantization import Score, agreement


def place(read: str, **expected: float) -> TokenLogprob:
    """A token that was read, and what was expected there."""
    top = [
        Alternative(token, token.encode(), math.log(share))
        for token, share in sorted(expected.items(), key=lambda item: -item[1])
    ]
    return TokenLogprob(read, read.encode(), math.log(expected.get(read, 0.001)), tuple(top))


def test_perplexity_is_one_over_the_mean_probability() -> None:
    text = Score((place("a", a=0.5, b=0.5), place("b", a=0.5, b=0.5)))
    assert text.perplexity == pytest.approx(2)
    assert Score((place("a", a=0.5), place("a", a=0.125))).perplexity == pytest.approx(4)


def test_the_same_is_the_same() -> None:
    text = Score((place("a", a=0.5, b=0.25), place("b", a=0.9)))
    found = agreement(text, text)
    assert (found.same_first, found.divergence) == (1, 0)


def test_divergence_counts_all_others_as_one() -> None:
    before, after = Score((place("a", a=0.5, b=0.25),)), Score((place("a", a=0.25, c=0.5),))
    found = agreement(before, after)
    assert found.same_first == 0
    # Both think of a; of the rest it is only known that it is the rest.
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert found.divergence == pytest.approx(expected)


def test_other_words_do_not_compare() -> None:
    with pytest.raises(ValueError, match="vocabularies"):
        agreement(Score((place("a", a=0.5),)), Score((place("b", b=0.5),)))
    with pytest.raises(ValueError, match="argument"):
        agreement(Score((place("a", a=0.5),)), Score(()))


SHARES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 1.0), min_size=1)


@given(SHARES, SHARES, st.floats(1.0, 3.0))
def test_divergence_is_never_below_nothing_nor_without_end(
    one: dict[str, float], other: dict[str, float], more: float
) -> None:
    pair = []
    for shares in (one, other):
        total = sum(shares.values()) * more
        pair.append(Score((place("a", **{key: share / total for key, share in shares.items()}),)))
    assert 0 <= agreement(*pair).divergence < 50
