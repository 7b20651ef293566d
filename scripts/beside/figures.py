"""What was measured, and what it says: medians, and ratios of neighbours.

These machines drift, so a ratio is taken within a round, where both were asked one after the
other, and the median over rounds afterwards. Above 1 is always better for us. A round that others
disturbed says nothing, and counts only where all were so.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DISTURBED = 0.25  # cores: with more of them busy for others, a round tells of the others


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a workload gives."""

    name: str
    unit: str
    more_is_better: bool

    def ratio(self, ours: float, theirs: float) -> float:
        """How much better ours is; above 1 it is."""
        better, worse = (ours, theirs) if self.more_is_better else (theirs, ours)
        return better / worse


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one contender made of a workload once: its figures by name, and what they rest on."""

    values: Mapping[str, float]
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """An outcome, and whose it was.

    `place` says who came first in that round, `busy` how many cores others kept busy meanwhile.
    """

    workload: str
    round: int
    contender: str
    place: int
    busy: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """A figure over all rounds: medians by contender, and our ratio to each of the others.

    `rounds` were counted, of `all_rounds`; `busy`: cores that others had in them, in the median.
    """

    workload: str
    figure: Figure
    medians: Mapping[str, float]
    ratios: Mapping[str, float]
    rounds: int
    all_rounds: int
    busy: float


def rows(
    figures: Mapping[str, Sequence[Figure]], samples: Iterable[Sample], ours: str
) -> Iterator[Row]:
    """A row for each figure of each workload, of the rounds that everybody finished.

    Args:
        figures: by workload, in the order of the rows.
        ours: the contender whose ratios are taken.
    """
    found = list(samples)
    for workload, its_figures in figures.items():
        rounds = _whole_rounds([one for one in found if one.workload == workload])
        if rounds:
            counted = [one for one in rounds if _busy(one) <= DISTURBED] or rounds
            for figure in its_figures:
                yield _row(workload, figure, counted, len(rounds), ours)


def _whole_rounds(samples: Sequence[Sample]) -> list[dict[str, Sample]]:
    rounds: dict[int, dict[str, Sample]] = {}
    for sample in samples:
        rounds.setdefault(sample.round, {})[sample.contender] = sample
    everybody = {sample.contender for sample in samples}
    return [one for one in rounds.values() if one.keys() == everybody]


def _busy(one: Mapping[str, Sample]) -> float:
    return max(sample.busy for sample in one.values())


def _row(
    workload: str,
    figure: Figure,
    rounds: Sequence[Mapping[str, Sample]],
    all_rounds: int,
    ours: str,
) -> Row:
    series = {name: [one[name].outcome.values[figure.name] for one in rounds] for name in rounds[0]}
    ratios = {
        name: median(map(figure.ratio, series[ours], theirs))
        for name, theirs in series.items()
        if name != ours
    }
    medians = {name: median(values) for name, values in series.items()}
    busy = median(map(_busy, rounds))
    return Row(workload, figure, medians, ratios, len(rounds), all_rounds, busy)
