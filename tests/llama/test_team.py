"""The number of threads follows what the machine gives, and costs little where it gives all."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from statistics import mode

import pytest

from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.llama.team import Teams, TeamSize


@dataclass
class Machine:
    """Cores of which some are taken; a team that needs one of those waits for it at every step."""

    cores: int
    taken: int = 0
    now: float = 0.0
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.team = TeamSize(self.cores, clock=lambda: self.now)

    def step(self) -> float:
        size = self.team.size
        seconds = 0.01 * (0.25 + 0.75 / size)
        if size > self.cores - self.taken:
            seconds *= 4
        self.now += seconds
        self.sizes.append(size)
        self.team.measured(seconds)
        return seconds

    def run(self, seconds: float) -> float:
        """Steps that were made, by steps that the best team would have made."""
        end, begun, steps = self.now + seconds, self.now, 0
        while self.now < end:
            self.step()
            steps += 1
        best = 0.01 * (0.25 + 0.75 / max(1, self.cores - self.taken))
        return steps * best / (self.now - begun)


@pytest.mark.parametrize("cores", [1, 2, 4, 8])
def test_an_idle_machine_is_used_whole(cores: int) -> None:
    machine = Machine(cores)
    machine.run(5)
    assert machine.run(60) > 0.98
    assert machine.team.size == cores


@pytest.mark.parametrize(("cores", "taken"), [(2, 1), (4, 1), (4, 2), (8, 3)])
def test_a_neighbour_that_comes_is_made_room_for(cores: int, taken: int) -> None:
    machine = Machine(cores)
    machine.run(30)
    machine.taken = taken
    machine.run(3)
    assert machine.run(60) > 0.93
    assert mode(machine.sizes[-200:]) == cores - taken


@pytest.mark.parametrize("cores", [2, 4])
def test_a_neighbour_that_was_there_first_is_found_out(cores: int) -> None:
    machine = Machine(cores, taken=1)
    machine.run(3)
    assert machine.run(60) > 0.93


def test_a_neighbour_that_leaves_gives_its_core_back() -> None:
    machine = Machine(4, taken=2)
    machine.run(100)
    machine.taken = 0
    machine.run(61)
    assert machine.run(30) > 0.97


def test_one_thread_is_never_changed() -> None:
    machine = Machine(1)
    machine.run(10)
    assert set(machine.sizes) == {1}


def test_a_team_changes_between_its_trials_only() -> None:
    machine = Machine(2, taken=1)
    machine.run(20)
    changes = sum(before != after for before, after in pairwise(machine.sizes))
    assert changes < 20


class Reader(Machine):
    """One that reads prompts; each chunk takes as long as 33 rows, and its own besides."""

    def __post_init__(self) -> None:
        self.teams = Teams(self.cores, StepCosts(), clock=lambda: self.now)

    def read(self, *chunks: int, code: int = 0) -> None:
        for rows in chunks:
            self.teams.time(rows, partial(self._compute, rows=rows, code=code))

    def _compute(self, size: int, within: float | None, *, rows: int, code: int) -> int:
        assert within is None, "a prompt's chunk is read to its end"
        seconds = 0.001 * (33 + rows) / size
        self.now += seconds * (4 if size > self.cores - self.taken else 1)
        self.sizes.append(size)
        return code


def test_short_prompts_are_not_taken_for_a_slow_machine() -> None:
    reader = Reader(4)
    reader.read(*[256] * 40)
    before = len(reader.sizes)
    for _ in range(5):  # some seconds in all, so that nothing is tried again for its age
        reader.read(*[60] * 4)
        reader.read(*[256] * 4)
    assert set(reader.sizes[before:]) == {4}


def test_a_neighbour_is_noticed_by_whoever_reads_chunks_of_all_lengths() -> None:
    reader = Reader(4)
    lengths = [64, 256, 256, 40, 500, 33]
    reader.read(*lengths * 10)
    reader.taken = 1
    reader.read(*lengths * 20)
    assert mode(reader.sizes[-60:]) == 3


def test_what_was_not_computed_to_its_end_tells_nothing() -> None:
    reader = Reader(4)
    reader.read(*[256] * 40)
    reader.read(*[256] * 100, code=2)
    assert set(reader.sizes[-100:]) == {reader.sizes[-101]}


@dataclass
class Writer(Machine):
    """One that writes; what needs a core that is taken takes `slow` times as long."""

    slow: float = 200.0
    stopped: bool = False
    calls: list[tuple[int, float | None, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.teams = Teams(self.cores, StepCosts(), clock=lambda: self.now)

    def write(self, steps: int, rows: int = 1) -> float:
        """Seconds of a step."""
        begun = self.now
        for _ in range(steps):
            code = self.teams.time(rows, partial(self._decode, rows=rows))
            assert code == self.calls[-1][2]
            assert code == (2 if self.stopped else 0), "a step is lost"
        return (self.now - begun) / steps

    def _decode(self, size: int, within: float | None, *, rows: int) -> int:
        seconds = 0.01 * (0.25 + 0.75 / size) * StepCosts().of(rows)
        if size > self.cores - self.taken:
            seconds *= self.slow
        late = within is not None and seconds >= within
        self.now += min(seconds, within or seconds)
        self.calls.append((size, within, 2 if late or self.stopped else 0))
        return self.calls[-1][2]

    @property
    def alone(self) -> float:
        """Seconds of a step of the team that nobody holds up."""
        return 0.01 * (0.25 + 0.75 / max(1, self.cores - self.taken))


@pytest.mark.parametrize("cores", [2, 4, 8])
def test_a_larger_team_that_is_held_up_is_given_up_soon(cores: int) -> None:
    writer = Writer(cores)
    writer.write(1000)
    writer.taken = 1
    writer.write(10)
    assert writer.write(5000) < 1.02 * writer.alone
    tried = [within for size, within, _ in writer.calls[-5000:] if size == cores]
    assert tried, "it may be alone again"
    assert all(within and within < 2.1 * writer.alone for within in tried)
    writer.taken = 0
    writer.write(20_000)
    assert writer.write(100) < 1.05 * writer.alone


def test_few_steps_are_lost_to_a_neighbour_who_comes() -> None:
    writer = Writer(2)
    writer.write(1000)
    before = len(writer.calls)
    writer.taken = 1
    writer.write(100)
    assert sum(size == 2 for size, _, _ in writer.calls[before:]) <= 4


def test_few_steps_are_lost_to_a_neighbour_who_was_there() -> None:
    writer = Writer(2, taken=1)
    writer.write(100)
    assert sum(size == 2 for size, _, _ in writer.calls) <= 4


def test_one_slow_step_changes_nothing() -> None:
    writer = Writer(4)
    writer.write(10_000)
    before = len(writer.calls)
    writer.taken = 1
    writer.write(1)
    writer.taken = 0
    writer.write(7)
    assert {size for size, _, _ in writer.calls[before:]} == {4}


def test_wider_steps_may_take_longer() -> None:
    writer = Writer(2, taken=1)
    writer.write(1000)
    for _ in range(100):
        writer.write(100, rows=8)
        writer.write(100)
    assert {within is None for size, within, _ in writer.calls[-20_000:] if size == 1} == {True}
    assert {code for size, _, code in writer.calls[-20_000:] if size == 2} == {2}


def test_what_nobody_wants_any_more_is_not_computed_again() -> None:
    writer = Writer(2, taken=1)
    writer.write(1000)
    writer.stopped = True
    writer.write(100)
    assert all(code == 2 for _, _, code in writer.calls[-100:])
