"""Ctrl-C let through once, or kept for a better moment."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.cli import interrupts

if TYPE_CHECKING:
    from collections.abc import Iterator


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _handler_is_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_is_let_through_and_the_others_are_not() -> None:
    steps: list[str] = []

    def work() -> None:
        with interrupts.once():
            try:
                press()
            finally:
                press()
                steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["cleaned up"]


@pytest.mark.parametrize("asks", [True, False])
def test_held_until_asked_for_or_the_end(asks: bool) -> None:
    steps: list[str] = []

    def work() -> None:
        with interrupts.held() as check:
            check()
            press()
            steps.append("not torn")
            if asks:
                check()
            steps.append("went on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == (["not torn"] if asks else ["not torn", "went on"])


def test_nothing_pressed_nothing_raised() -> None:
    with interrupts.once(), interrupts.held() as check:
        check()
