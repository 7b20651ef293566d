"""The hash, held against the loop that defines it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.lending.fnv import BLOCK, Fnv


def by_definition(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def hashed(*parts: bytes) -> int:
    fnv = Fnv()
    for part in parts:
        fnv.update(part)
    return fnv.value


def test_known_hashes() -> None:
    """Of the paper by Fowler, Noll and Vo."""
    assert hashed(b"") == 0xCBF29CE484222325
    assert hashed(b"a") == 0xAF63DC4C8601EC8C
    assert hashed(b"foobar") == 0x85944171F73967E8


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_in_any_parts(first: bytes, second: bytes) -> None:
    assert hashed(first, second) == by_definition(first + second)


def test_around_a_block() -> None:
    data = bytes(at * at % 251 for at in range(BLOCK + 9))
    for size in (BLOCK - 1, BLOCK, BLOCK + 9):
        assert hashed(data[:size]) == by_definition(data[:size])


def test_a_name_is_as_long_as_ggmls() -> None:
    fnv = Fnv()
    fnv.value = 0xAB
    assert fnv.name == "00000000000000ab"
