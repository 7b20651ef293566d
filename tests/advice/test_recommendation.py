"""Which build is recommended, by machine; and that one is whenever any can be run."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.advice import Setting, Wish, judge, recommend
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.machines import another_machine
from tests.advice.builds import SIGHT, candidate, candidates, machine
from tests.test_memory import MISTRAL_SMALL

wishes = st.builds(
    Wish,
    context_length=st.none() | st.integers(64, 131072),
    kv_type=st.none() | st.sampled_from(["f16", "q8_0", "q4_0"]),
    vision=st.none() | st.booleans(),
)


@pytest.mark.parametrize(
    ("memory", "bandwidth", "name", "way"),
    [
        (64, 50, "Q4_K_M", Setting(8192, "f16", True)),
        (64, None, "Q4_K_M", Setting(8192, "f16", True)),
        (64, 210, "Q6_K", Setting(8192, "f16", True)),
        (64, 400, "Q8_0", Setting(8192, "f16", True)),
        (20, 400, "Q4_K_M", Setting(8192, "f16", True)),
        (24, 400, "Q6_K", Setting(8192, "q8_0", True)),
        (19, 50, "Q4_K_M", Setting(8192, "q8_0", True)),
        (18, 50, "Q4_K_S", Setting(8192, "q8_0", True)),
        (16, 50, "Q3_K_M", Setting(8192, "q8_0", True)),
        (15, 50, "Q3_K_M", Setting(8192, "f16", False)),
        (14, 50, "Q3_K_M", Setting(8192, "q8_0", False)),
        (13.5, 50, "Q3_K_M", Setting(4096, "q8_0", False)),
        (13.0, 50, "Q2_K", Setting(8192, "q8_0", True)),
        (10, 50, "Q2_K", Setting(4096, "q8_0", False)),
    ],
)
def test_by_memory_and_its_speed(
    memory: float, bandwidth: float | None, name: str, way: Setting
) -> None:
    found = recommend(candidates(), machine(memory, bandwidth=bandwidth), SIGHT, Wish())
    assert found is not None
    assert (found.outlook.candidate.name, found.outlook.setting) == (name, way)


@pytest.mark.parametrize(
    ("memory", "bandwidth", "reason"),
    [
        (64, 50, "the usual build; it fits and leaves 45.4 GB"),
        (
            64,
            400,
            "more exact than the usual Q4_K_M, and memory is fast enough for it; it fits and leaves "
            "34.6 GB",
        ),
        (
            16,
            50,
            "it fits and leaves 1.4 GB, while the usual Q4_K_M lacks 1.4 GB; for that the KV cache "
            "is q8_0",
        ),
        (
            10,
            50,
            "it is tight and leaves only 342.8 MB, while the usual Q4_K_M lacks 5.1 GB; for that "
            "the KV cache is q8_0, it sees no pictures, the context is 4,096 tokens",
        ),
    ],
)
def test_the_reason(memory: float, bandwidth: float, reason: str) -> None:
    found = recommend(candidates(), machine(memory, bandwidth=bandwidth), SIGHT, Wish())
    assert found is not None
    assert found.reason == reason


def test_the_boards_that_are_asked_about_most() -> None:
    found = recommend(candidates(), another_machine("pi5-16gb"), SIGHT, Wish())
    assert found is not None
    assert found.outlook.candidate.name == "Q3_K_M"
    assert found.outlook.verdict == "fits"
    assert recommend(candidates(), another_machine("pi5-8gb"), SIGHT, Wish()) is None


def test_what_is_here_is_taken_where_the_disk_is_full() -> None:
    full = machine(64, free_disk=3)
    assert recommend(candidates(), full, SIGHT, Wish()) is None
    found = recommend(candidates(here="Q6_K"), full, SIGHT, Wish())
    assert found is not None
    assert found.outlook.candidate.name == "Q6_K"
    assert found.reason.endswith("while the usual Q4_K_M lacks 12.2 GB of disk")


def test_a_single_build_is_compared_with_none() -> None:
    found = recommend([candidate("Q2_K")], machine(64), None, Wish())
    assert found is not None
    assert found.reason == "it fits and leaves 52.8 GB"


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        (Wish(context_length=63), "context_length"),
        (Wish(context_length=131073), "context_length"),
        (Wish(vision=True), "vision"),
    ],
)
def test_what_the_model_cannot_do_is_refused(wish: Wish, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        recommend(candidates(), machine(64), None, wish)
    assert caught.value.param == param


def test_ways_are_within_what_the_model_was_made_for() -> None:
    ways = Wish().settings(MISTRAL_SMALL, SIGHT, (4096, 1 << 20, 1 << 21))
    assert [way.context_length for way in ways] == [4096] * 4 + [131072] * 4
    assert ways[0] == Setting(4096, "f16", vision=True)


@given(wishes, st.integers(5, 60), st.integers(5, 500))
def test_what_is_recommended_fits_if_anything_does(wish: Wish, memory: int, speed: int) -> None:
    box, builds = machine(memory, bandwidth=speed), candidates()
    ways = wish.settings(MISTRAL_SMALL, SIGHT)
    verdicts = {judge(build, way, box, SIGHT).verdict for build, way in product(builds, ways)}
    found = recommend(builds, box, SIGHT, wish)
    if found is None:
        assert verdicts == {"no"}
    else:
        assert found.outlook.verdict == ("fits" if "fits" in verdicts else "tight")
        assert found.outlook.setting in ways


@given(wishes, st.integers(5, 60), st.integers(0, 60))
def test_more_memory_never_takes_the_recommendation_away(
    wish: Wish, memory: int, more: int
) -> None:
    less, most = (
        recommend(candidates(), machine(each), SIGHT, wish) for each in (memory, memory + more)
    )
    assert less is None or most is not None
