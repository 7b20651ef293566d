"""Which layers go where: against every way there is, for small models, and for Mistral Small's shape."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.cli.planning import survey
from mistral_small_edge.errors import (
    InvalidRequest,
    NotEnoughMemory,
    NotEnoughTogether,
    WorkerTooSmall,
)
from mistral_small_edge.memory import MemoryPlan, plan
from mistral_small_edge.workers import Lent, Placement, WorkerAddress, check_placement, place
from tests.test_memory import LAPTOP, MISTRAL_SMALL

if TYPE_CHECKING:
    from mistral_small_edge.gguf import ModelHeader

GB = 10**9
BOARD = round(7.3 * GB)  # of 8 GB, what its system leaves
KV = 10  # bytes of a small model's layer
EMPTY, BESIDE_HERE, BESIDE_THERE = 110, 125, 25  # bytes; `small` says how they come about

sizes = st.lists(st.integers(1, 60), min_size=1, max_size=7).map(tuple)
rooms = st.lists(st.integers(0, 300), min_size=1, max_size=3)


def small(layers: tuple[int, ...]) -> tuple[ModelHeader, MemoryPlan]:
    """A model whose bytes can be counted by hand."""
    header = replace(MISTRAL_SMALL, block_count=len(layers), layer_bytes=layers)
    weights, kv = 60 + sum(layers), KV * len(layers)
    memory = MemoryPlan(weights=weights, kv=kv, compute=20, inputs=5, logits=10, program=30)
    return header, memory


def lent(*free: int) -> tuple[Lent, ...]:
    boxes = enumerate(free, start=2)
    return tuple(Lent(WorkerAddress(f"10.0.0.{at}"), size, size) for at, size in boxes)


def taken(layers: tuple[int, ...], counts: tuple[int, ...]) -> list[int]:
    """Bytes on each machine."""
    ends = [sum(counts[:at]) for at in range(len(counts) + 1)]
    beside = [BESIDE_HERE if counts[0] else EMPTY] + [BESIDE_THERE] * (len(counts) - 1)
    return [
        extra + sum(layers[begin:end]) + KV * (end - begin)
        for extra, (begin, end) in zip(beside, pairwise(ends), strict=True)
    ]


def every_way(layers: tuple[int, ...], free: list[int]) -> list[tuple[int, ...]]:
    """All that have room."""
    numbers = range(len(layers) + 1)
    return [
        counts
        for counts in product(numbers, *[numbers[1:]] * (len(free) - 1))
        if sum(counts) == len(layers)
        and all(size <= most for size, most in zip(taken(layers, counts), free, strict=True))
    ]


def unevenness(layers: tuple[int, ...], counts: tuple[int, ...], free: list[int]) -> float:
    beside = [BESIDE_HERE] + [BESIDE_THERE] * (len(free) - 1)
    used = [size - extra for size, extra in zip(taken(layers, counts), beside, strict=True)]
    have = [max(1, size - extra) for size, extra in zip(free, beside, strict=True)]
    return sum(max(0, size) ** 2 / room for size, room in zip(used, have, strict=True))


@given(sizes, st.integers(0, 500), rooms)
def test_it_is_the_most_even_of_all_ways_and_fails_only_where_there_is_none(
    layers: tuple[int, ...], here: int, there: list[int]
) -> None:
    header, memory = small(layers)
    free = [here, *there]
    ways = every_way(layers, free)
    if not ways:
        with pytest.raises((InvalidRequest, NotEnoughMemory, WorkerTooSmall)):
            place(header, memory, here, lent(*there))
        return
    found = place(header, memory, here, lent(*there))
    counts = (found.here, *found.there)
    assert counts in ways
    assert [found.bytes_here, *found.bytes_there] == taken(layers, counts)
    best = min(unevenness(layers, way, free) for way in ways)
    assert unevenness(layers, counts, free) <= best * (1 + 1e-9)
    check_placement(found.there, header, memory, here, lent(*there))
    assert place(header, memory, here, lent(*there)) == found


@given(sizes, st.integers(0, 500), rooms)
def test_what_is_insisted_on_is_shared_out_whatever_has_room(
    layers: tuple[int, ...], here: int, there: list[int]
) -> None:
    header, memory = small(layers)
    if len(there) > len(layers):
        with pytest.raises(InvalidRequest, match="workers are named, and the model has"):
            place(header, memory, here, lent(*there), force=True)
        return
    found = place(header, memory, here, lent(*there), force=True)
    assert found.here + sum(found.there) == len(layers)
    assert min(found.there) >= 1


def test_memory_decides_how_many() -> None:
    header, memory = small((10,) * 12)
    assert place(header, memory, 325, lent(225, 225)) == Placement(4, (4, 4), 205, (105, 105))
    assert place(header, memory, 325, lent(425)).there == (8,)
    assert place(header, memory, EMPTY, lent(325)) == Placement(0, (12,), EMPTY, (265,))


def test_a_worker_without_room_for_a_layer_is_named() -> None:
    header, memory = small((10, 12, 14))
    with pytest.raises(WorkerTooSmall) as caught:
        place(header, memory, 1000, lent(1000, BESIDE_THERE + KV + 9))
    assert caught.value.worker == "10.0.0.3:50052"
    assert (caught.value.free, caught.value.needed) == (44, 45)
    assert place(header, memory, 1000, lent(BESIDE_THERE + KV + 14)).there == (1,)


def test_all_machines_are_named_where_they_hold_too_little() -> None:
    header, memory = small((10,) * 12)
    with pytest.raises(NotEnoughTogether) as caught:
        place(header, memory, 190, lent(100, 60))
    error = caught.value
    assert error.boxes == (
        ("this machine", 190, 3),
        ("10.0.0.2:50052", 100, 3),
        ("10.0.0.3:50052", 60, 1),
    )
    assert (error.needed, error.available) == (125 + 2 * 25 + 12 * 20, 350)
    assert "of its 12 layers have room: 3 in the 190 bytes of this machine, 3 in the" in str(error)


def test_what_stays_here_in_any_case_must_have_room() -> None:
    header, memory = small((10,) * 4)
    with pytest.raises(NotEnoughMemory) as caught:
        place(header, memory, EMPTY - 1, lent(1000))
    assert not isinstance(caught.value, NotEnoughTogether)
    assert dict(caught.value.parts)["weights"] == 60


def test_layers_that_stay_where_they_were_are_checked() -> None:
    header, memory = small((10,) * 12)
    earlier = place(header, memory, 325, lent(225, 225)).there
    check_placement(earlier, header, memory, 205, lent(105, 105))
    with pytest.raises(NotEnoughMemory, match=r"and 204 bytes is free"):
        check_placement(earlier, header, memory, 204, lent(105, 105))
    with pytest.raises(WorkerTooSmall, match=r"10\.0\.0\.3:50052.* 4 layers take 105 bytes"):
        check_placement(earlier, header, memory, 205, lent(105, 104))


def mistral_small(build: str) -> tuple[ModelHeader, MemoryPlan]:
    """With one conversation of 8192 tokens."""
    [found] = survey(f"mistral-small-3.2:{build}").builds
    header = found.candidate.header
    memory = plan(
        header,
        LAPTOP,
        context_length=8192,
        max_sequences=1,
        kv_type="f16",
        flash_attention=False,
        prefill_chunk=512,
    )
    return header, memory


@pytest.mark.parametrize(
    ("build", "boards"), [("Q2_K", 2), ("Q3_K_M", 3), ("Q4_K_M", 3), ("Q6_K", 4), ("Q8_0", 5)]
)
def test_so_many_boards_of_8_gb_hold_it(build: str, boards: int) -> None:
    (header, memory), free = mistral_small(build), BOARD
    placed = place(header, memory, free, lent(*[free] * (boards - 1)))
    assert placed.here + sum(placed.there) == 40
    assert max(placed.bytes_here, *placed.bytes_there) <= free
    with pytest.raises(NotEnoughTogether):
        place(header, memory, free, lent(*[free] * (boards - 2)))


def test_four_boards_hold_q4_k_m_with_room_to_spare() -> None:
    header, memory = mistral_small("Q4_K_M")
    placed = place(header, memory, BOARD, lent(BOARD, BOARD, BOARD))
    assert max(placed.bytes_here, *placed.bytes_there) < 5.5 * GB
    assert placed.here < min(placed.there)  # the embedding and the output matrix are here
