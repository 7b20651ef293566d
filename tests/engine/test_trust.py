"""What guesses are worth, as it is learned from those before."""

from __future__ import annotations

import itertools

import pytest

from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.engine.speculation import Drafter
from mistral_small_edge.engine.trust import MAX_DRAFT, Guess, Source, Trust
from tests.fakes import FakeDraft

KEY_END, VALUE_END = 1, 2


def guess(last: int, source: Source = Source.MATCH, match: int = 2) -> Guess:
    return Guess((10, 11, 12), last, source, match)


def test_a_longer_match_is_trusted_more_and_so_is_what_a_guess_makes_of_it() -> None:
    trust = Trust()
    first = [trust.probability(guess(0, match=match), 0) for match in (1, 2, 3, 5, 8, 16, 32)]
    assert first == sorted(set(first))
    long = Guess(tuple(range(MAX_DRAFT)), 0, Source.MATCH, 1)
    within = [trust.probability(long, number) for number in range(MAX_DRAFT)]
    assert within == sorted(within)


def test_guesses_behind_one_token_say_little_of_those_behind_another() -> None:
    trust = Trust()
    for _ in range(6):
        trust.learn(guess(KEY_END), 0, right=False)
        trust.learn(guess(VALUE_END), 0, right=True)
    assert trust.probability(guess(KEY_END), 0) < 0.3
    assert trust.probability(guess(VALUE_END), 0) > 0.7


def test_a_token_within_a_guess_is_behind_the_one_before_it() -> None:
    trust = Trust()
    for _ in range(6):
        trust.learn(guess(last=0), 2, right=False)  # behind 11, the second one
    assert trust.probability(guess(last=11), 0) < trust.probability(guess(last=12), 0)


@pytest.mark.parametrize("source", [Source.GRAMMAR, Source.MODEL])
def test_what_a_grammar_or_a_model_says_is_judged_by_that_alone(source: Source) -> None:
    trust = Trust()
    before = trust.probability(guess(KEY_END, source), 0)
    for _ in range(20):
        trust.learn(guess(KEY_END), 0, right=False)
    assert trust.probability(guess(KEY_END, source), 0) == before
    trust.learn(guess(KEY_END, source), 0, right=False)
    assert trust.probability(guess(VALUE_END, source), 0) < before


def test_a_guess_that_was_not_worth_a_check_teaches_all_the_same() -> None:
    """Behind a single token that stood before nothing is guessed at first, and then it is."""
    drafter = Drafter(StepCosts(((1, 1.0), (2, 1.1))))
    text = list(itertools.chain.from_iterable([7, 8, number] for number in range(100, 110)))
    drafts = [drafter.draft(text[:length], 1) for length in range(1, 9)]
    second, third = 4, 7  # times that the text is at a 7
    assert text[second - 1] == text[third - 1] == 7
    assert drafts[second - 1] == ()
    assert drafts[third - 1] == (8,)


@pytest.mark.parametrize(("matched", "expected"), [(1, 9), (20, 5)])
def test_of_two_guesses_the_one_that_promises_more_is_taken(matched: int, expected: int) -> None:
    """What stood behind one token before, or twenty; and what a smaller model says."""
    phrase = list(range(50, 50 + matched))
    costs = StepCosts(((1, 1.0), (2, 1.1)))
    drafter = Drafter(costs, FakeDraft(cost=0.01, says=lambda rows: 9))
    assert drafter.draft([*phrase, 5, 6, *phrase], 1) == (expected,)
