"""Ctrl-C let through once, or kept for a better moment."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.cli import interrupts

if TYPE_CHECKING:
    from collections.abc import Iterator


PATIENCE = 60  # seconds


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_descriptor_tells_of_either_signal(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interrupts.asked_to_stop() as stop:
        assert select.select([stop], [], [], 0)[0] == []
        signal.raise_signal(number)
        assert select.select([stop], [], [], PATIENCE)[0] == [stop]
    assert signal.getsignal(number) is before
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(stop)
