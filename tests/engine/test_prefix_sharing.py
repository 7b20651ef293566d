"""What one slot has read, another need not: prefixes are copied, whoever holds them."""

from __future__ import annotations

from mistral_small_edge.engine.outputs import Failed
from mistral_small_edge.engine.prefix_cache import Allocation, PrefixCache
from mistral_small_edge.engine.reuse import Reuse
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import ROWS, Desk
from tests.engine.test_prefix_cache import fill
from tests.fakes import FakeRunner

ONE = SamplingParams(max_tokens=1, temperature=0)
DOCUMENT = tuple(n % 7 for n in range(60))


def desk(slots: int = 4) -> Desk:
    return Desk(FakeRunner(slots, context_length=500, row_classes=ROWS))


def rows_read(asked: Desk) -> int:
    """Prompt rows that were computed."""
    return sum(
        len(chunk.tokens) for batch in asked.runner.batches for chunk in batch if chunk.start < 60
    )


def test_prompts_that_come_together_read_their_common_start_once() -> None:
    asked = desk()
    requests = [asked.add((*DOCUMENT, 10 + at, 11, 12), ONE) for at in range(4)]
    asked.run()
    for request in requests:
        asked.check_answer(request)
    assert rows_read(asked) < 60 + 4 * 6
    assert sum(asked.end(request).cached_tokens for request in requests) > 3 * 55


def test_equal_prompts_are_read_once() -> None:
    asked = desk()
    requests = [asked.add(DOCUMENT, ONE) for _ in range(4)]
    asked.run()
    for request in requests:
        asked.check_answer(request)
    assert rows_read(asked) <= 60 + 3


def test_a_free_slot_gives_what_it_has_and_keeps_it() -> None:
    asked = desk(slots=2)
    first = asked.add((*DOCUMENT, *range(20, 50)), ONE)
    asked.run()
    second = asked.add((*DOCUMENT, 99), ONE)
    asked.run()
    asked.check_answer(second)
    assert asked.end(second).cached_tokens == 60
    again = asked.add((*DOCUMENT, *range(20, 50), 5), ONE)
    asked.run()
    assert asked.end(again).cached_tokens == asked.end(first).prompt_tokens


def test_a_running_answer_gives_its_prompt_to_others() -> None:
    asked = desk(slots=2)
    asked.add(DOCUMENT, SamplingParams(max_tokens=100, ignore_eos=True))
    for _ in range(14):
        asked.step()
    second = asked.add((*DOCUMENT, 9, 9, 9), ONE)
    asked.run()
    asked.check_answer(second)
    assert asked.end(second).cached_tokens == 60


def test_exact_takes_no_rows_that_an_answer_computed() -> None:
    asked = desk(slots=2)
    first = asked.add(DOCUMENT, SamplingParams(max_tokens=10, temperature=1, ignore_eos=True))
    asked.run()
    lane = next(lane for lane in asked.runner.lanes if lane)
    assert asked.end(first).completion_tokens == 10
    exact = asked.add((*lane, 1, 2, 3), ONE)
    asked.run()
    asked.check_answer(exact)
    assert asked.end(exact).cached_tokens == 60


def test_a_copy_that_fails_ends_its_request_alone() -> None:
    class Torn(FakeRunner):
        def copy(self, source: int, slot: int, length: int) -> None:
            raise DecodeFailed(-100, length)

    asked = Desk(Torn(2, context_length=500, row_classes=ROWS))
    requests = [asked.add(DOCUMENT, ONE) for _ in range(2)]
    asked.run()
    ended = [isinstance(asked.outputs[request][-1], Failed) for request in requests]
    assert sorted(ended) == [False, True]
    again = asked.add((5, 5, 5), ONE)
    asked.run()
    asked.check_answer(again)


def test_a_copy_has_to_pay() -> None:
    cache = PrefixCache(2, lane=9000)
    fill(cache, (list(range(9000)), 9000), ([], 0))
    taken = cache.allocate([*range(89), -1], Reuse(89))
    assert taken == Allocation(1, 0, 0)
    assert cache.donor(1, Reuse(89)) is None, "9000 rows for 89"
    cache.release(1, [], 0)
    assert cache.allocate([*range(91), -1], Reuse(91)) == taken
    assert cache.donor(1, Reuse(91)) == Allocation(0, 91, 91)
    cache.check_integrity()
