"""A call that is carried on in slices: it and its owner take turns, and nothing is left of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.llama.slices import Slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.llama.slices import Pause

STEPS = 4


class Work:
    """A call of STEPS slices. Whoever computes holds the floor, and finds it free."""

    def __init__(self, fails_at: int | None = None, deaf_for: int = 0) -> None:
        self.log: list[str] = []
        self.threads: set[int] = set()
        self.told: list[bool] = []
        self._fails_at, self._deaf_for = fails_at, deaf_for
        self._floor = threading.Lock()

    @contextmanager
    def computing(self, who: str) -> Iterator[None]:
        assert self._floor.acquire(blocking=False), "both compute"
        try:
            sum(range(30_000))
            self.log.append(who)
            yield
        finally:
            self._floor.release()

    def __call__(self, pause: Pause) -> str:
        self.threads.add(threading.get_ident())
        for step in range(STEPS):
            with self.computing("call"):
                if step == self._fails_at:
                    raise ZeroDivisionError(step)
            self.told.append(pause(step / STEPS))
            if not self.told[-1]:
                self._deaf_for -= 1
            if self._deaf_for < 0:
                return "given up"
        return "made"


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def advanced(work: Work, times: int) -> Slices:
    slices = Slices(work)
    for _ in range(times):
        assert slices.advance() is None
    return slices


def test_nothing_runs_before_it_is_advanced() -> None:
    work = Work()
    slices = Slices(work)
    assert (slices.done, work.log) == (0.0, [])


def test_the_call_and_its_owner_take_turns() -> None:
    work = Work()
    slices = Slices(work)
    result = None
    while result is None:
        with work.computing("owner"):
            pass
        result = slices.advance()
    assert result == "made"
    assert work.log == ["owner", "call"] * STEPS + ["owner"]
    assert threading.get_ident() not in work.threads


def test_done_is_what_the_call_says_and_1_at_its_end() -> None:
    slices = Slices(Work())
    told = []
    while slices.advance() is None:
        told.append(slices.done)
    assert told == [0.0, 0.25, 0.5, 0.75]
    assert slices.done == 1.0


def test_its_thread_ends_with_it_and_the_next_call_has_another() -> None:
    idle = threading.active_count()
    slices = advanced(Work(), STEPS)
    assert threading.active_count() == idle + 1
    assert slices.advance() == "made"
    assert threading.active_count() == idle


def test_the_result_stays() -> None:
    slices = advanced(Work(), STEPS)
    assert [slices.advance() for _ in range(3)] == ["made"] * 3


@pytest.mark.parametrize("step", range(STEPS))
def test_what_the_call_raises_is_raised_where_it_is_advanced(step: int) -> None:
    slices = advanced(Work(fails_at=step), step)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match=str(step)):
            slices.advance()
    assert slices.done < 1
    slices.close()


@pytest.mark.parametrize("times", range(STEPS + 2))
def test_it_can_be_given_up_at_any_time_and_twice(times: int) -> None:
    work = Work()
    slices = Slices(work)
    for _ in range(times):
        slices.advance()
    slices.close()
    slices.close()
    assert len(work.log) == min(times, STEPS), "nothing is computed any more"
    told_so = [False] if 0 < times <= STEPS else []
    assert work.told == [True] * (len(work.log) - len(told_so)) + told_so


def test_a_call_may_take_its_time_to_end() -> None:
    work = Work(deaf_for=2)
    slices = advanced(work, 1)
    slices.close()
    assert work.told == [False] * 3


def test_what_a_call_raises_when_it_is_given_up_is_not_raised() -> None:
    work = Work(fails_at=1, deaf_for=1)
    slices = advanced(work, 1)
    slices.close()
    assert work.log == ["call"] * 2
