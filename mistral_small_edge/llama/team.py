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
from mistral_small_edge.llama.interruption import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.engine.calibration import StepCosts

_SLOWER = 1.2  # times the usual: something has changed
_STALLED = 3.0  # times the usual, twice in a row: no more steps are needed to see it
_BETTER = 0.93  # of the other's time, to be worth a change
_WORSE = 1.3  # times the best: even smaller teams need not be tried
_HOPELESS = 2.0  # times the best: one step is enough to tell
_SOONEST, _LATEST = 2.0, 60.0  # seconds until another team is tried again
_FIRST = 3  # steps after which others are tried for the first time


class TeamSize:
    """`size` threads for the next step; told how long it took, it may be another one afterwards.

    Args:
        most: threads that an idle machine is best used with.
        settle, trial: steps that tell how fast the usual team is, and another one.

    Attributes:
        home: threads of the usual team, the fastest one as far as is known.
    """

    def __init__(
        self,
        most: int,
        *,
        settle: int = 8,
        trial: int = 4,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.size = self._most = self.home = most
        self._settle = settle
        self._trial = trial
        self._clock = clock
        self._times: list[float] = []
        self._usual: float | None = None  # seconds of a step of the home team
        self._to_try: list[int] = []
        self._best = most, 0.0  # of those that are tried now, and its seconds
        self._wait = 0.0
        self._tried = clock()

    @property
    def limit(self) -> float | None:
        """How long the next step may take if there is to be another one of that size; None if any may."""
        return None if self.size == self.home else _HOPELESS * self._best[1]

    def measured(self, seconds: float) -> None:
        """Take into account that a step of the team took so long, compared to others like it."""
        if self._most == 1:
            return
        limit = self.limit
        self._times.append(seconds)
        if limit is None:
            if self._is_enough():
                self._stay_or_try(median(self._drain()))
        elif seconds >= limit:
            self._drain()
            self._judge(seconds)
        elif len(self._times) == self._trial:
            # The first one wakes threads, or puts them to sleep.
            self._judge(median(self._drain()[1:] or [seconds]))

    def _is_enough(self) -> bool:
        """Whether the home team's steps tell by now how it does."""
        if self._usual is None:
            return len(self._times) == min(_FIRST, self._settle)
        last = self._times[-2:]
        if len(last) == 2 and min(last) > _STALLED * self._usual:
            self._times = last
            return True
        return len(self._times) == self._settle

    def _stay_or_try(self, seconds: float) -> None:
        slow = self._usual is not None and seconds > _SLOWER * self._usual
        self._usual = seconds
        if not slow and self._clock() - self._tried < self._wait:
            return
        if slow or self._wait == 0.0:  # others have come, or were here before
            self._to_try = [size for size in range(self._most, 0, -1) if size != self.home]
            self._wait = 0.0
        elif self.home < self._most:  # they may have gone
            self._to_try = [self._most]
        else:
            self._to_try = [self._most - 1]
        self._best = self.home, seconds
        self.size = self._to_try.pop(0)

    def _judge(self, seconds: float) -> None:
        if seconds < _BETTER * self._best[1]:
            self._best = self.size, seconds
        if self._to_try and seconds < _WORSE * self._best[1]:
            self.size = self._to_try.pop(0)
            return
        self._to_try = []
        changed = self._best[0] != self.home
        self.home, self._usual = self._best
        self._wait = _SOONEST if changed else min(max(2 * self._wait, _SOONEST), _LATEST)
        self._tried = self._clock()
        self.size = self.home

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

    def time(self, rows: int, decode: Callable[[int, float | None], int]) -> int:
        """Compute a batch of `rows`.

        Args:
            decode: told how many threads are to compute it, and in how many seconds, or there is no
                need to go on; it gives INTERRUPTED then, and can be called once more.

        Returns:
            The code of the last call of `decode`.
        """
        if rows > LOGITS_ROWS:
            code, seconds = self._decode(decode, self._prompts.size, None)
            if not code:  # it was computed to its end
                self._prompts.measured(seconds / self._usual(rows, seconds))
            return code
        team, cost = self._answers, self._costs.of(rows)
        within = None if team.limit is None else team.limit * cost
        code, seconds = self._decode(decode, team.size, within)
        is_late = code == INTERRUPTED and within is not None and seconds >= within
        if not code or is_late:
            team.measured(seconds / cost)
        if is_late:  # a size that is tried, and far from the best
            code, _ = self._decode(decode, team.home, None)
        return code

    def _decode(
        self, decode: Callable[[int, float | None], int], size: int, within: float | None
    ) -> tuple[int, float]:
        begun = self._clock()
        code = decode(size, within)
        return code, self._clock() - begun

    def _usual(self, rows: int, seconds: float) -> float:
        """What a chunk of about so many rows takes: of a short one each row may take far longer."""
        kind = rows.bit_length()
        self._fastest[kind] = min(self._fastest.get(kind, seconds / rows), seconds / rows)
        return self._fastest[kind] * rows
