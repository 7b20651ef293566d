"""What was measured of answers, and the arithmetic over it. Measures nothing itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PERCENTILES = (50, 90, 99)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of `values` (one or more) that `percent` of them (above 0, to 100) do not exceed.

    It is always one that was measured: nothing is interpolated.
    """
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One answer, and its neighbours in time: the bare loop, and the memory's speed.

    Attributes:
        prompt_tokens: of the prompt, all of them read.
        prompt_rate, decode_rate, bare_decode_rate: tokens a second.
        time_to_first_token: seconds.
        gaps: seconds between one piece of the answer's text and the next, as they reach the caller's
            thread. A piece is mostly a token. Bytes that are no whole character wait for the
            others, so some gaps are of several tokens; of tokens that were guessed ahead and found
            right all but the first come with next to no gap.
        bandwidth: bytes a second that memory was read with.
        step_bytes: that a step read at the least, half-way through the answer.
    """

    prompt_tokens: int
    prompt_rate: float
    time_to_first_token: float
    decode_rate: float
    bare_decode_rate: float
    gaps: tuple[float, ...]
    bandwidth: float
    step_bytes: float

    @property
    def share_of_bare(self) -> float:
        """Our decode rate over the bare loop's."""
        return self.decode_rate / self.bare_decode_rate

    @property
    def share_of_bound(self) -> float:
        """The least time that reading a step's bytes takes, over the time of a step.

        Near 1, decode is bound by memory. A model that fits the processor's caches may be above.
        """
        return self.step_bytes / self.bandwidth * self.decode_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkReport:
    """Every round, and the medians over them.

    Attributes:
        model, threads: what computed, and on how many threads.
        mask_seconds: what a JSON schema costs, by token.
        peak_memory: bytes that the program held, before it made room to measure bandwidth.
        alone: whether all was computed on this machine; else its memory is not the only bound.
    """

    model: str
    threads: int
    rounds: tuple[Round, ...]
    mask_seconds: tuple[float, ...]
    peak_memory: int
    alone: bool = True

    @property
    def prompt_rate(self) -> float:
        """Tokens a second, reading."""
        return median(one.prompt_rate for one in self.rounds)

    @property
    def decode_rate(self) -> float:
        """Tokens a second, writing."""
        return median(one.decode_rate for one in self.rounds)

    @property
    def time_to_first_token(self) -> float:
        """Seconds."""
        return median(one.time_to_first_token for one in self.rounds)

    @property
    def gaps(self) -> dict[int, float]:
        """Seconds between pieces of text (ITL), by percentile; none if no answer had two pieces."""
        every = [gap for one in self.rounds for gap in one.gaps]
        return {percent: percentile(every, percent) for percent in PERCENTILES} if every else {}

    @property
    def mask_time(self) -> float:
        """Seconds a token, to know which tokens a JSON schema lets follow."""
        return median(self.mask_seconds)

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return median(one.bandwidth for one in self.rounds)

    @property
    def step_bytes(self) -> float:
        """Bytes that writing a token reads at the least."""
        return median(one.step_bytes for one in self.rounds)

    @property
    def share_of_bare(self) -> float:
        """Our decode rate over the bare loop's, pair by pair."""
        return median(one.share_of_bare for one in self.rounds)

    @property
    def share_of_bound(self) -> float | None:
        """What decode reaches of the speed that memory allows, pair by pair; None if that is not known."""
        if not self.alone:
            return None
        return median(one.share_of_bound for one in self.rounds)
