"""What comes from the engine's thread, and what wakes the one who waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from mistral_small_edge.chat.deltas import Delta, TextDelta
from mistral_small_edge.errors import EngineTimeout
from mistral_small_edge.server.bridge import Bridge
from mistral_small_edge.server.sse import Pulse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mistral_small_edge.llm.chat_model import DeltaStream

PATIENCE = 10.0
ONE, TWO, THREE = map(TextDelta, ("one", "two", "three"))


class Script:
    """A stream that gives what is written down, a list at a time; whether it ends is said, too."""

    def __init__(self, *takes: list[Delta], ends: bool = True) -> None:
        self._takes = list(takes)
        self._ends = ends

    @property
    def ended(self) -> bool:
        """Whether all was taken."""
        return self._ends and not self._takes

    def take(self) -> list[Delta]:
        """The next list."""
        return self._takes.pop(0) if self._takes else []

    def listen(self, listener: Callable[[], None]) -> None:
        """All is there at once."""
        listener()

    def close(self) -> None:
        """Nothing to give up."""


def bridge(*scripts: Script, seconds: float | None = None) -> Bridge:
    return Bridge([cast("DeltaStream", script) for script in scripts], seconds)


def test_what_has_come_is_told_together_and_apart_from_other_streams() -> None:
    async def told() -> list[tuple[int, list[Delta]]]:
        with bridge(Script([ONE, TWO], [THREE]), Script([THREE])) as streams:
            return [come async for come in streams]

    assert asyncio.run(told()) == [(0, [ONE, TWO]), (0, [THREE]), (1, [THREE])]


def test_who_is_woken_gets_nothing() -> None:
    async def woken() -> tuple[int, list[Delta]]:
        with bridge(Script(ends=False)) as streams:
            reader = aiter(streams)
            await anext(reader)  # it was told, as every stream tells at once, and found nothing
            asyncio.get_running_loop().call_soon(streams.wake)
            return await anext(reader)

    assert asyncio.run(woken()) == (0, [])


def test_the_time_is_over_for_whichever_task_reads_then() -> None:
    """A response's first piece is awaited by one task, and the others by another."""

    async def read() -> None:
        with bridge(Script([ONE], ends=False), seconds=0.01) as streams:
            reader = aiter(streams)
            assert await asyncio.create_task(_first(reader)) == (0, [ONE])
            async for _ in reader:
                pass

    with pytest.raises(EngineTimeout):
        asyncio.run(asyncio.wait_for(read(), PATIENCE))


async def _first(reader: AsyncIterator[tuple[int, list[Delta]]]) -> tuple[int, list[Delta]]:
    return await anext(reader)


def test_a_pulse_wakes_again_and_again() -> None:
    async def missed() -> list[bool]:
        woken = asyncio.Event()
        found = []
        with Pulse(0.01, woken.set) as pulse:
            for _ in range(3):
                await asyncio.wait_for(woken.wait(), PATIENCE)
                woken.clear()
                found.append(pulse.missed)
                pulse.beat()
        return found

    assert asyncio.run(missed()) == [True] * 3


def test_no_sign_of_life_is_due_before_its_time() -> None:
    async def missed() -> bool:
        with Pulse(PATIENCE, lambda: None) as pulse:
            return pulse.missed

    assert not asyncio.run(missed())
