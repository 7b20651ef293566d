"""What a slot held before somebody else took it is put back, and never anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.prefix import MIN_ROWS
from mistral_small_edge.engine.prefix_cache import Allocation
from mistral_small_edge.engine.prefix_memory import PrefixMemory
from mistral_small_edge.engine.reuse import Reuse
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import CHUNK, ROWS, Desk
from tests.fakes import FakeRunner, FakeTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

ONE = SamplingParams(max_tokens=1, temperature=0)
STATE = memoryview(bytes(100))


def numbers(count: int, first: int = 0) -> list[int]:
    return list(range(first, first + count))


def found(memory: PrefixMemory, rows: Sequence[int], *, exact: bool = False) -> Allocation | None:
    hit = memory.find(rows, Reuse(len(rows), exact=exact))
    return None if hit is None else hit[1]


def test_what_was_kept_is_found_by_its_beginning() -> None:
    memory = PrefixMemory(1000)
    memory.keep(numbers(200), 150, STATE)
    assert found(memory, [*numbers(200), 9]) == Allocation(-1, 200, 150)
    assert found(memory, [*numbers(200), 9], exact=True) == Allocation(-1, 150, 150)
    assert found(memory, [*numbers(140), 9]) == Allocation(-1, 140, 140)
    assert found(memory, [*numbers(100), 9]) is None, "soon computed"
    assert found(memory, numbers(200, 1)) is None


def test_the_longest_match_is_taken() -> None:
    memory = PrefixMemory(1000)
    memory.keep([*numbers(200), *numbers(50, -100)], 250, memoryview(b"one"))
    memory.keep([*numbers(180), *numbers(90, -300)], 270, memoryview(b"other"))
    hit = memory.find(numbers(400), Reuse(400))
    assert hit is not None
    assert bytes(memory.read(hit[0])) == b"one"


@pytest.mark.parametrize(
    ("rows", "num_exact", "wanted"),
    [
        (numbers(MIN_ROWS - 1, 5), 0, False),
        (numbers(MIN_ROWS, 5), 0, True),
        (numbers(300 + MIN_ROWS - 1), 0, False),
        (numbers(300 + MIN_ROWS), 0, True),
        # A seeded request may use more of the same rows.
        (numbers(300), 100 + MIN_ROWS - 1, False),
        (numbers(300), 100 + MIN_ROWS, True),
    ],
)
def test_what_would_bring_little_is_not_copied(
    rows: list[int], num_exact: int, wanted: bool
) -> None:
    memory = PrefixMemory(1000)
    memory.keep(numbers(300), 100, STATE)
    assert memory.wants(rows, num_exact) is wanted


def test_where_memory_is_short_nothing_is_copied() -> None:
    memory = PrefixMemory(1000, affords=lambda rows: rows < 200)
    assert memory.wants(numbers(199), 0)
    assert not memory.wants(numbers(200), 0)


def test_a_conversation_that_grows_is_kept_once() -> None:
    memory = PrefixMemory(1000)
    for length in (200, 400, 600):
        memory.keep(numbers(length), length, STATE)
    assert memory.num_bytes == STATE.nbytes
    assert found(memory, numbers(700)) == Allocation(-1, 600, 600)


def test_the_longest_unused_goes_first() -> None:
    memory = PrefixMemory(3 * STATE.nbytes)
    for first in (0, 1000, 2000):
        memory.keep(numbers(200, first), 200, STATE)
    hit = memory.find(numbers(200), Reuse(200))
    assert hit is not None
    memory.read(hit[0])
    memory.keep(numbers(200, 3000), 200, STATE)
    assert found(memory, numbers(200)) is not None
    assert found(memory, numbers(200, 1000)) is None
    memory.keep(numbers(200, 4000), 200, memoryview(bytes(301)))
    assert found(memory, numbers(200, 4000)) is None, "it is larger than all that may be kept"
    assert found(memory, numbers(200)) is not None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 400), st.integers(1, 300))))
def test_it_never_takes_more_than_it_may(kept: list[tuple[int, int, int]]) -> None:
    memory = PrefixMemory(1000)
    for kind, length, size in kept:
        memory.keep(numbers(length, 10_000 * kind), length, memoryview(bytes(size)))
        assert memory.num_bytes <= 1000


def desk(runner: FakeRunner, memory: PrefixMemory) -> Desk:
    asked = Desk(runner)
    asked.engine = Engine(runner, FakeTokenizer(), prefill_chunk=CHUNK, memory=memory)
    return asked


def conversation(number: int) -> tuple[int, ...]:
    return tuple(number + n % 5 for n in range(MIN_ROWS + 40))


def test_conversations_that_share_a_slot_are_read_once_each() -> None:
    memory = PrefixMemory(10**6)
    asked = desk(FakeRunner(1, context_length=500, row_classes=ROWS), memory)
    for turn in range(3):
        for number in (0, 10, 20):
            request = asked.add((*conversation(number), *[number] * turn), ONE)
            asked.run()
            asked.check_answer(request)
            end = asked.end(request)
            assert (end.cached_tokens >= MIN_ROWS + 30) is (turn > 0)


def test_what_another_slot_has_is_not_copied() -> None:
    memory = PrefixMemory(10**6)
    asked = desk(FakeRunner(2, context_length=500, row_classes=ROWS), memory)
    for last in ((1,), (2,), (3,), (4,)):
        asked.add((*conversation(0), *last), ONE)
        asked.run()
    assert memory.num_bytes == 0


def test_a_state_that_cannot_be_had_or_put_back_costs_nothing_but_time() -> None:
    class Torn(FakeRunner):
        def save(self, slot: int) -> memoryview:
            if self.batches and len(self.batches) % 2:
                raise DecodeFailed(-100, 0)
            return super().save(slot)

        def restore(self, slot: int, state: memoryview, length: int) -> None:
            raise DecodeFailed(-100, length)

    asked = desk(Torn(1, context_length=500, row_classes=ROWS), PrefixMemory(10**6))
    for number in (0, 10, 0, 10, 0):
        request = asked.add(conversation(number), ONE)
        asked.run()
        asked.check_answer(request)
        assert asked.end(request).cached_tokens == 0
