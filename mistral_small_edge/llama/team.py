"""How many threads compute: as many as are fast together just now.

llama.cpp's threads wait for the slowest of them after every operation, so a neighbour on one core
costs all of them; a smaller team that the neighbour leaves alone is faster then. A team is tried when
its own steps have become slow, and again from time to time. What is computed does not depend on
it; that is found out before (see `trial`).
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import LOGITS_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.engine.calibration import StepCosts

_SLOWER = 1.2  # times the usual: something has changed
_BETTER = 0.93  # of the other's time, to be worth a change
_WORSE = 1.3  # times the best: even smaller teams need not be tried
_SOONEST, _LATEST = 2.0, 60.0  # seconds until another team is tried again


class TeamSize:
    """`size` threads for the next step; told how long it took, it may be another one afterwards.

    Args:
        most: threads that an idle machine is best used with.
        settle, trial: steps that tell how fast the usual team is, and another one.
    """

    def __init__(
        self,
        most: int,
        *,
        settle: int = 8,
        trial: int = 4,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.size = self._most = self._home = most
        self._settle = settle
        self._trial = trial
        self._clock = clock
        self._times: list[float] = []
        self._usual: float | None = None  # seconds of a step of the home team
        self._to_try: list[int] = []
        self._best = most, 0.0  # of those that are tried now, and its seconds
        self._wait = 0.0
        self._tried = clock()

    def measured(self, seconds: float) -> None:
        """Take into account that a step of the team took so long, compared to others like it."""
        if self._most == 1:
            return
        self._times.append(seconds)
        if self.size == self._home:
            if len(self._times) == self._settle:
                self._stay_or_try(median(self._drain()))
        elif len(self._times) == self._trial:
            # The first one wakes threads, or puts them to sleep.
            self._judge(median(self._drain()[1:] or [seconds]))

    def _stay_or_try(self, seconds: float) -> None:
        slow = self._usual is not None and seconds > _SLOWER * self._usual
        self._usual = seconds
        if not slow and self._clock() - self._tried < self._wait:
            return
        if slow or self._wait == 0.0:  # others have come, or were here before
            self._to_try = [size for size in range(self._most, 0, -1) if size != self._home]
            self._wait = 0.0
        elif self._home < self._most:  # they may have gone
            self._to_try = [self._most]
        else:
            self._to_try = [self._most - 1]
        self._best = self._home, seconds
        self.size = self._to_try.pop(0)

    def _judge(self, seconds: float) -> None:
        if seconds < _BETTER * self._best[1]:
            self._best = self.size, seconds
        if self._to_try and seconds < _WORSE * self._best[1]:
            self.size = self._to_try.pop(0)
            return
        self._to_try = []
        changed = self._best[0] != self._home
        self._home, self._usual = self._best
        self._wait = _SOONEST if changed else min(max(2 * self._wait, _SOONEST), _LATEST)
        self._tried = self._clock()
        self.size = self._home

    def _drain(self) -> list[float]:
        times, self._times = self._times, []
        return times


class Teams:
    """One size for answers and another for prompts: what slows the one may not slow the other."""

    def __init__(
        self, most: int, costs: StepCosts, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._costs = costs
        self._clock = clock
        self._answers = TeamSize(most, clock=clock)
        self._prompts = TeamSize(most, settle=3, trial=2, clock=clock)
        self._fastest: dict[int, float] = {}  # seconds a row, by the length of chunks in bits

    def time(self, rows: int, decode: Callable[[int], int]) -> int:
        """Compute a batch of `rows` with as many threads as `decode` is given; its code."""
        answer = rows <= LOGITS_ROWS
        team = self._answers if answer else self._prompts
        begun = self._clock()
        code = decode(team.size)
        seconds = self._clock() - begun
        if not code:  # it was computed to its end
            usual = self._costs.of(rows) if answer else self._usual(rows, seconds)
            team.measured(seconds / usual)
        return code

    def _usual(self, rows: int, seconds: float) -> float:
        """What a chunk of about so many rows takes: of a short one each row may take far longer."""
        kind = rows.bit_length()
        self._fastest[kind] = min(self._fastest.get(kind, seconds / rows), seconds / rows)
        return self._fastest[kind] * rows
