"""What is known of a machine and a model on it: where results repeat, and what wider batches take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mistral_small_edge.engine.backend import RowClasses

if TYPE_CHECKING:
    from collections.abc import Iterable


_MOST_FIXED = 64.0  # rows; neighbours may have been at work


@dataclass(frozen=True)  # no slots: the table has to be somewhere
class StepCosts:
    """What a batch of some rows takes, as a multiple of one row's time.

    Not always more than fewer rows: where a kernel takes four at once, two or three may take longer.

    `known` has pairs of rows and cost, by rows, from (1, 1.0) on. The default is what a small model takes
    on two AVX2 cores; large ones, bound by memory, take less.
    """

    known: tuple[tuple[int, float], ...] = (
        (1, 1.0),
        (2, 1.7),
        (4, 2.5),
        (8, 4.0),
        (16, 7.0),
        (32, 13.0),
    )

    def __post_init__(self) -> None:
        rows = [row for row, _ in self.known]
        if self.known[0] != (1, 1.0) or rows != sorted(set(rows)):
            raise ValueError(f"costs are of rows in order, from (1, 1.0) on: {self.known}")
        if not all(cost >= 1 for _, cost in self.known):
            raise ValueError(f"no batch is cheaper than one row: {self.known}")

    def of(self, rows: int) -> float:
        """The cost of a batch of `rows`: between those that are known as the line goes."""
        most, cost = self.known[-1]
        return self._table[rows] if rows <= most else cost * rows / most

    def filled(self, rows: int) -> int:
        """How many rows to compute where `rows` are wanted and others can be thrown away."""
        return self._fillings[rows] if rows < len(self._fillings) else rows

    def check(self, rows: int) -> float:
        """The cost of `rows` that are filled up; it never falls with more of them."""
        return self.of(self.filled(rows))

    def parts(self, rows: int, most: int) -> tuple[int, ...]:
        """How to share `rows` out to batches of `most` at the most, so that all of them take the least time.

        The wider ones first; as few as may be where that takes no longer.
        """
        known = self._parts.setdefault(most, [()])
        for count in range(len(known), rows + 1):
            ways = ((width, *known[count - width]) for width in range(1, min(most, count) + 1))
            known.append(min(ways, key=lambda way: (self.total(way), len(way))))
        return tuple(sorted(known[rows], reverse=True))

    @cached_property
    def fixed_rows(self) -> float:
        """What a batch of many rows takes whatever their number, in rows."""
        each = (self.of(32) - self.of(16)) / 16
        fixed = self.of(16) - 16 * each
        return min(max(fixed / each, 0.0), _MOST_FIXED) if each > 0 else _MOST_FIXED

    def total(self, parts: Iterable[int]) -> float:
        """The cost of batches of so many rows each."""
        return sum(map(self.of, parts))

    @cached_property
    def _parts(self) -> dict[int, list[tuple[int, ...]]]:
        """Of every number of rows that was asked for, by the most of a batch."""
        return {}

    @cached_property
    def _fillings(self) -> list[int]:
        cheapest = [self.known[-1][0]]
        for rows in range(cheapest[0] - 1, -1, -1):
            more = cheapest[-1]
            cheapest.append(rows if self._table[rows] <= self._table[more] else more)
        return cheapest[::-1]

    @cached_property
    def _table(self) -> list[float]:
        """Of every number of rows up to the most that is known; asked for many times a token."""
        rows, costs = zip(*self.known, strict=True)
        return [float(cost) for cost in np.interp(range(rows[-1] + 1), rows, costs)]

    def as_json(self) -> Any:
        """A form that `from_json` reads."""
        return self.known

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        return cls(tuple((int(rows), float(cost)) for rows, cost in value))


@dataclass(frozen=True, slots=True)
class Repeats:
    """Where results are the same, bit by bit.

    `any_threads`: also with fewer threads than were asked for.
    """

    rows: RowClasses
    any_threads: bool = False

    def as_json(self) -> Any:
        """A form that `from_json` reads."""
        return {"rows": asdict(self.rows), "any_threads": self.any_threads}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        rows = {name: int(number) for name, number in value["rows"].items()}
        return cls(RowClasses(**rows), value["any_threads"] is True)


@dataclass(frozen=True, slots=True)
class ExactPass:
    """Of how many rows passes are that compute each of them alike, whoever has the others; 0 if of none."""

    rows: int

    def as_json(self) -> Any:
        """A form that `from_json` reads."""
        return self.rows

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave.

        Raises:
            ValueError, TypeError: it is something else.
        """
        return cls(int(value))


@dataclass(frozen=True, slots=True)
class DraftCost:
    """What a token of a smaller model takes, as a share of the large one's step of one token."""

    share: float

    def as_json(self) -> Any:
        """A form that `from_json` reads."""
        return self.share

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave.

        Raises:
            ValueError, TypeError: it is something else.
        """
        return cls(float(value))


@dataclass(frozen=True, slots=True)
class Threads:
    """How many are the fastest."""

    count: int

    def as_json(self) -> Any:
        """A form that `from_json` reads."""
        return self.count

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave.

        Raises:
            ValueError, TypeError: it is something else.
        """
        if not int(value) > 0:
            raise ValueError(f"{value!r} threads compute nothing")
        return cls(int(value))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found by trying, or assumed."""

    costs: StepCosts
    repeats: Repeats
