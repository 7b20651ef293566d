"""Who is asked when: one workload after the other, in rounds in which all contenders take turns.

Whoever came first in a round comes last in the next, so that nobody always finds the warmer
machine. Only one of them is asked at a time.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from scripts.beside import prompts
from scripts.beside.errors import AnswerTooShort, CompareFailed
from scripts.beside.figures import Sample
from scripts.beside.neighbours import Neighbours
from scripts.beside.servers import running
from scripts.beside.workloads import Asked, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from scripts.beside.figures import Outcome
    from scripts.beside.servers import Contender, Server

    Turns = Mapping[str, Callable[[int], Outcome]]

_ALIKE = 0.05  # part by which two servers may differ in the length of a prompt


def compare(
    workloads: Sequence[Asked | Started],
    contenders: Sequence[Contender],
    guessing: Sequence[Contender],
    rounds: int,
    note: Callable[[str], None],
    wait: Callable[[], object],
    *,
    alone: bool = False,
) -> Iterator[Sample]:
    """Every outcome as it comes.

    Args:
        contenders: who takes part in everything.
        guessing: who joins them where answers repeat their prompts.
        note: told what is going on.
        wait: called before each turn; comes back when the machine is fit for it.
        alone: start a server for each turn, so that two of them need not fit into memory.

    Raises:
        CompareFailed: a server died, or an answer is not what was asked for.
    """
    asked = [workload for workload in workloads if isinstance(workload, Asked)]
    if alone:
        for workload in asked:
            taking_part = (*contenders, *(guessing if workload.guessing else ()))
            turns = {one.name: partial(_by_itself, workload, one) for one in taking_part}
            yield from _rounds(workload.name, turns, 1 if workload.once else rounds, note, wait)
        asked = []
    with ExitStack() as up:
        servers = [_ready(up, contender, note) for contender in contenders if asked]
        for guessed, group in groupby(asked, lambda workload: workload.guessing):
            with ExitStack() as joining:
                others = [_ready(joining, one, note) for one in guessing if guessed]
                for workload in group:
                    turns = {
                        server.client.name: partial(workload.run, server)
                        for server in (*servers, *others)
                    }
                    count = 1 if workload.once else rounds
                    yield from _rounds(workload.name, turns, count, note, wait)
    for workload in workloads:
        if isinstance(workload, Started):
            starts = {one.name: partial(workload.run, one) for one in contenders}
            yield from _rounds(workload.name, starts, rounds, note, wait)


def _by_itself(workload: Asked, contender: Contender, number: int) -> Outcome:
    with running(contender) as server:
        server.client.ask(prompts.greeting(0))
        return workload.run(server, number)


def _ready(stack: ExitStack, contender: Contender, note: Callable[[str], None]) -> Server:
    """A server that has answered once, which no figure counts."""
    note(f"starting {contender.name}")
    server = stack.enter_context(running(contender))
    server.client.ask(prompts.greeting(0))
    return server


def _rounds(
    name: str,
    turns: Turns,
    rounds: int,
    note: Callable[[str], None],
    wait: Callable[[], object],
) -> Iterator[Sample]:
    for number in range(rounds):
        note(f"{name}, round {number + 1} of {rounds}")
        order = list(turns) if number % 2 == 0 else list(turns)[::-1]
        samples = []
        try:
            for place, contender in enumerate(order):
                wait()
                neighbours = Neighbours()
                outcome = turns[contender](number)
                samples.append(Sample(name, number, contender, place, neighbours.busy(), outcome))
        except AnswerTooShort as failure:
            note(f"{name}, round {number + 1} is left out: {failure}")
            continue
        _check_alike(name, {sample.contender: sample.outcome for sample in samples})
        yield from samples


def _check_alike(name: str, outcomes: Mapping[str, Outcome]) -> None:
    """Refuse to compare answers to prompts that are not one prompt."""
    counts = {contender: outcome.prompt_tokens for contender, outcome in outcomes.items()}
    least, most = min(counts.values()), max(counts.values())
    if most - least > _ALIKE * most:
        told = ", ".join(f"{count} for {contender}" for contender, count in counts.items())
        raise CompareFailed(f"the prompt of {name} has {told} tokens: that cannot be compared")
