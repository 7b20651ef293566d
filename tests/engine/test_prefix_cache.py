"""Slots are handed out where they cost least, and the books always balance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.prefix_cache import Allocation, PrefixCache, common_prefix
from mistral_small_edge.engine.reuse import Reuse


def fill(cache: PrefixCache, *held: tuple[list[int], int]) -> None:
    """Put token lists into slots, with their numbers of exact rows."""
    taken = [cache.allocate([], Reuse(0)) for _ in held]
    for allocation, (tokens, num_exact) in zip(taken, held, strict=True):
        assert allocation is not None
        cache.release(allocation.slot, tokens, num_exact)


@given(
    a=st.lists(st.integers(0, 2), max_size=600),
    at=st.integers(0, 600),
    tail=st.lists(st.integers(0, 2), max_size=10),
)
def test_common_prefix_is_the_longest_one(a: list[int], at: int, tail: list[int]) -> None:
    b = [*a[:at], *tail]
    common = common_prefix(a, tuple(b))
    assert a[:common] == b[:common]
    assert common == min(len(a), len(b)) or a[common] != b[common]


def test_the_longest_prefix_wins() -> None:
    cache = PrefixCache(3, lane=100)
    fill(cache, ([1, 2, 3], 3), ([1, 2, 3, 4, 5, 6], 6), ([9], 1))
    assert cache.allocate([1, 2, 3, 4, 5, 6, 7], Reuse(7)) == Allocation(1, 6, 6)


def test_an_empty_slot_is_better_than_a_long_conversation_with_a_short_common_start() -> None:
    cache = PrefixCache(2, lane=100)
    fill(cache, (list(range(3000)), 3000), ([], 0))
    allocation = cache.allocate([*range(50), -1, -2], Reuse(52))
    assert allocation == Allocation(1, 0, 0)


def test_the_slot_unused_for_longest_goes_first() -> None:
    cache = PrefixCache(2, lane=100)
    fill(cache, ([1, 1], 2), ([2, 2], 2))
    assert cache.allocate([3, 3], Reuse(2)) == Allocation(0, 0, 0)


def test_exact_takes_only_rows_that_a_prefill_computed() -> None:
    cache = PrefixCache(1, lane=100)
    fill(cache, ([1, 2, 3, 4], 2))
    assert cache.allocate([1, 2, 3, 4, 5], Reuse(5, exact=True)) == Allocation(0, 2, 2)


def test_the_limit_holds() -> None:
    cache = PrefixCache(1, lane=100)
    fill(cache, ([1, 2, 3, 4], 4))
    assert cache.allocate([1, 2, 3, 4], Reuse(1)) == Allocation(0, 1, 1)


def test_no_slot_is_handed_out_twice() -> None:
    cache = PrefixCache(1, lane=100)
    assert cache.allocate([1], Reuse(1)) is not None
    assert cache.allocate([1], Reuse(1)) is None
    cache.release(0, [1], 1)
    with pytest.raises(ValueError, match="not allocated"):
        cache.release(0, [1], 1)
    cache.check_integrity()
