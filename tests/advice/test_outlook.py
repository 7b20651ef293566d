"""Verdicts: where they change, and what never makes one worse."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.advice import SPARE_BYTES, Setting, Verdict, judge, largest_context
from mistral_small_edge.advice.outlook import WORKER_SECONDS
from mistral_small_edge.memory import plan
from mistral_small_edge.workers import Lent, WorkerAddress
from tests.advice.builds import GB, SIGHT, SIZES, candidate, machine

if TYPE_CHECKING:
    from mistral_small_edge.config import KVType

WORST_LAST: tuple[Verdict, ...] = get_args(Verdict)
USUAL = Setting(8192, "f16", vision=False)
names = st.sampled_from(sorted(SIZES))
kinds = st.sampled_from(["f16", "q8_0"])
ways = st.builds(Setting, st.integers(64, 131072), kinds, st.booleans())


def test_the_memory_is_what_loading_would_plan() -> None:
    build, box = candidate("Q4_K_M"), machine(64)
    expected = plan(
        build.header,
        box.host,
        context_length=8192,
        max_sequences=1,
        kv_type="q8_0",
        flash_attention=True,
        prefill_chunk=512,
        projector=SIGHT.header,
    )
    assert judge(build, Setting(8192, "q8_0", vision=True), box, SIGHT).memory == expected


@pytest.mark.parametrize(
    ("left", "verdict", "reason"),
    [
        (5 * GB, "fits", "leaves 5.0 GB"),
        (SPARE_BYTES, "fits", "leaves 1.0 GB"),
        (SPARE_BYTES - 1, "tight", "leaves only 1000.0 MB"),
        (0, "tight", "leaves only 0 bytes"),
        (-1, "no", "lacks 1 bytes"),
        (-2 * GB, "no", "lacks 2.0 GB"),
    ],
)
def test_what_is_tight(left: int, verdict: Verdict, reason: str) -> None:
    needed = judge(candidate("Q4_K_M"), USUAL, machine(64)).memory.total
    outlook = judge(candidate("Q4_K_M"), USUAL, machine((needed + left) / GB))
    assert (outlook.spare, outlook.verdict, outlook.reason) == (left, verdict, reason)


def test_a_small_model_is_not_tight_where_a_tenth_is_left() -> None:
    small = judge(candidate("Q2_K"), USUAL, machine(64)).memory.total
    share = judge(candidate("Q2_K"), USUAL, machine(small / 0.89 / GB))
    assert share.spare > share.shares[0].free / 10
    assert share.verdict == "fits"


def lent(*free: float) -> list[Lent]:
    """In GB."""
    sizes = enumerate((round(each * GB) for each in free), start=2)
    return [Lent(WorkerAddress(f"10.0.0.{at}"), size, size) for at, size in sizes]


def test_what_is_too_large_for_one_machine_fits_several() -> None:
    build, alone = candidate("Q4_K_M"), machine(8)
    assert judge(build, USUAL, alone).verdict == "no"
    outlook = judge(build, USUAL, alone.with_workers(lent(8, 8)))
    assert (outlook.verdict, len(outlook.shares)) == ("fits", 3)
    assert sum(share.layers for share in outlook.shares) == 40
    assert [share.name for share in outlook.shares] == [
        "a machine",
        "10.0.0.2:50052",
        "10.0.0.3:50052",
    ]
    assert outlook.memory.total == sum(share.taken for share in outlook.shares)
    assert outlook.spare == min(share.spare for share in outlook.shares)
    assert outlook.reason.endswith(" GB on each")


def test_several_machines_are_tight_where_one_of_them_is() -> None:
    outlook = judge(candidate("Q2_K"), USUAL, machine(20).with_workers(lent(1.2)))
    large, little = outlook.shares
    assert (little.layers, large.is_tight, little.is_tight) == (1, False, True)
    assert (outlook.verdict, outlook.spare) == ("tight", little.spare)
    assert outlook.reason.startswith("leaves only ")


@pytest.mark.parametrize("workers", [(2.0,), (0.5, 16.0)])
def test_what_several_machines_lack_is_told(workers: tuple[float, ...]) -> None:
    outlook = judge(candidate("Q4_K_M"), USUAL, machine(8).with_workers(lent(*workers)))
    assert (outlook.verdict, outlook.shares) == ("no", ())
    assert outlook.reason.startswith("lacks ")


def test_several_machines_are_no_faster() -> None:
    build, alone = candidate("Q4_K_M"), machine(64, bandwidth=50)
    one, three = judge(build, USUAL, alone), judge(build, USUAL, alone.with_workers(lent(64, 64)))
    assert one.rate is not None
    assert three.rate is not None
    assert 1 / three.rate == pytest.approx(1 / one.rate + 2 * WORKER_SECONDS)


def test_what_is_to_be_fetched_must_fit_the_disk() -> None:
    seeing = Setting(8192, "f16", vision=True)
    full = machine(64, free_disk=14.5)
    assert judge(candidate("Q4_K_M"), USUAL, full).verdict == "fits"
    outlook = judge(candidate("Q4_K_M"), seeing, full, SIGHT)
    assert (outlook.verdict, outlook.reason) == ("no", "lacks 678.1 MB of disk")
    assert judge(candidate("Q4_K_M", here=True), seeing, full, SIGHT).verdict == "fits"


def test_a_token_is_bound_by_what_it_reads() -> None:
    outlook = judge(candidate("Q4_K_M"), USUAL, machine(64, bandwidth=50))
    read = candidate("Q4_K_M").header.step_bytes + 4096 * 160 * 1024  # half of the context
    assert outlook.rate == pytest.approx(50e9 / read)
    assert judge(candidate("Q4_K_M"), USUAL, machine(64, bandwidth=None)).rate is None


@given(names, ways, st.integers(1, 100), st.integers(0, 100))
def test_more_memory_never_makes_a_verdict_worse(
    name: str, way: Setting, memory: int, more: int
) -> None:
    verdicts = [
        judge(candidate(name), way, machine(available), SIGHT).verdict
        for available in (memory, memory + more)
    ]
    assert sorted(verdicts, key=WORST_LAST.index, reverse=True) == verdicts


@given(names, ways)
def test_pictures_and_exact_numbers_are_never_free(name: str, way: Setting) -> None:
    def needed(kv_type: KVType, *, vision: bool) -> int:
        setting = Setting(way.context_length, kv_type, vision)
        return judge(candidate(name), setting, machine(64), SIGHT).memory.total

    assert needed("f16", vision=True) > needed("f16", vision=False)
    assert needed("q8_0", vision=False) <= needed("f16", vision=False)


@given(names, st.integers(64, 131072), st.integers(0, 10_000), st.booleans())
def test_more_context_never_needs_less(name: str, context: int, more: int, vision: bool) -> None:
    longer = min(context + more, 131072)
    # q8_0: with f16 it does, where attention begins to be computed by tiles.
    ways = [Setting(tokens, "q8_0", vision) for tokens in (context, longer)]
    outlooks = [judge(candidate(name), way, machine(64), SIGHT) for way in ways]
    assert outlooks[0].memory.total <= outlooks[1].memory.total
    assert (outlooks[0].rate or 0) >= (outlooks[1].rate or 0)


@given(names, kinds, st.integers(1, 50), st.booleans())
def test_the_largest_context_fits_and_a_thousand_more_does_not(
    name: str, kv_type: KVType, memory: int, sees: bool
) -> None:
    sight, box = SIGHT if sees else None, machine(memory)
    largest = largest_context(candidate(name), kv_type, box, sight)

    def verdict(tokens: int) -> Verdict:
        return judge(candidate(name), Setting(tokens, kv_type, sees), box, sight).verdict

    assert largest == 0 or verdict(largest) == "fits"
    assert largest == 131072 or verdict(largest + 1024) != "fits"
