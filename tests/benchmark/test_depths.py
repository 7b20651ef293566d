"""Where in a context it is measured, and that it is filled only once."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.benchmark import depths_of, measure_depths
from mistral_small_edge.benchmark.depths import FIRST, WRITTEN_TOKENS
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.llm import LLM


@pytest.mark.parametrize(
    ("context", "positions"),
    [
        (1056, (0, 1024)),
        (1600, (0, 1024, 1568)),
        (8192, (0, 1024, 2048, 4096, 8160)),
        (131072, (0, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131040)),
    ],
)
def test_positions_double_up_to_the_end(context: int, positions: tuple[int, ...]) -> None:
    assert depths_of(context) == positions


@given(st.integers(FIRST + WRITTEN_TOKENS, 1 << 20))
def test_every_answer_has_room_and_no_stretch_is_short(context: int) -> None:
    positions = depths_of(context)
    assert positions[-1] + WRITTEN_TOKENS == context
    assert all(after - before >= FIRST // 2 for before, after in pairwise(positions))


def test_a_context_that_is_too_short_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="it takes 1056") as caught:
        depths_of(1055)
    assert caught.value.param == "context_length"


def test_only_what_is_new_is_read_at_each_position(llm: LLM) -> None:
    done: list[tuple[int, int]] = []
    depths = measure_depths(llm, (0, 128, 384), lambda read, all_: done.append((read, all_)))
    start, middle, end = depths
    assert (start.position, start.prompt_seconds) == (0, None)
    assert middle.read_from < 8  # what the first one wrote is other text
    assert 128 <= end.read_from < 128 + 8
    assert all(one.decode_seconds > 0 for one in depths)
    assert (middle.prompt_seconds or 0) > 0
    assert end.step_bytes - middle.step_bytes == 256 * llm.step_bytes.row
    assert done[-1] == (384, 384)
    assert done == sorted(done)
