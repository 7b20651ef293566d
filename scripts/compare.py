"""Measures our server beside llama.cpp's own, as `scripts/compare`: `python -m scripts.compare`.

Both get the same file, threads, context and slots, and are asked over HTTP in turn. Prints medians
and our ratio to the other one: above 1 we are better, whatever the figure. `others` tells how many
cores other programs took meanwhile. Rounds in which that was much are left out, unless all were so.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mistral_small_edge.cli import console
from mistral_small_edge.errors import EdgeError
from mistral_small_edge.host import choose_threads, probe_host
from mistral_small_edge.store.catalog import resolve
from scripts.beside import contenders, machine, report
from scripts.beside.building import ROOT, Build, built_llama_server
from scripts.beside.errors import CompareFailed
from scripts.beside.figures import rows
from scripts.beside.neighbours import busy_neighbours, wait_for_quiet
from scripts.beside.rounds import compare
from scripts.beside.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from scripts.beside.figures import Figure, Sample
    from scripts.beside.servers import Contender

_LEAST_CONTEXT = 3072  # tokens: the longest prompt has about 2,000
_NAMES = [workload.name for workload in WORKLOADS]


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit code."""
    asked = options(words)
    try:
        return _measure(asked)
    except (CompareFailed, EdgeError) as failure:
        if isinstance(failure, CompareFailed) and failure.log:
            console.note(failure.log)
        console.note(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        console.note("Stopped.")
        return 130


def options(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line; says what is wrong with it and leaves if something is."""
    parser = argparse.ArgumentParser(
        prog="scripts/compare",
        description=__doc__,
        epilog="Workloads: " + ", ".join(_NAMES) + ".",
        allow_abbrev=False,
    )
    _add_setting(parser)
    parser.add_argument(
        "--rounds", type=_positive, default=5, help="of each workload (%(default)s)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=_NAMES, metavar="WORKLOAD", help="nothing but these"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait so long before each turn for others on this machine to pause (%(default)s)",
    )
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="write every round there")
    parser.add_argument(
        "--llama-server", type=Path, metavar="PATH", help="a ready one, rather than build it"
    )
    parser.add_argument(
        "--peer-speculation",
        choices=("none", *contenders.SPECULATION),
        default=contenders.BEST_SPECULATION,
        help="how llama-server guesses in a third place, where answers repeat prompts (%(default)s)",
    )
    parser.add_argument(
        "--peer-args", type=shlex.split, default=[], help="further options of llama-server"
    )
    parser.add_argument("--our-args", type=shlex.split, default=[], help="further options of serve")
    return parser.parse_args(words)


def _add_setting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="demo", help="as everywhere (%(default)s)")
    parser.add_argument("--threads", type=_positive, help="of both (what we choose by default)")
    parser.add_argument(
        "--context", type=_context, default=4096, help="tokens of a slot (%(default)s)"
    )
    parser.add_argument("--slots", type=_positive, default=8, help="of both (%(default)s)")
    parser.add_argument(
        "--busy",
        type=_number,
        default=0,
        metavar="CORES",
        help="keep so many busy with something else; our server then minds its threads itself",
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="start a server for every turn: for a model that does not fit into memory twice",
    )


def _measure(asked: argparse.Namespace) -> int:
    model = resolve(asked.model)
    binary = _llama_server(asked.llama_server)
    setting = contenders.Setting(
        model=model.path,
        threads=asked.threads or choose_threads(probe_host()),
        context=asked.context,
        slots=asked.slots,
        adapts=asked.busy > 0,
    )
    facts = machine.describe(setting, model.size, binary)
    console.note(machine.line(facts))
    pair, guessing = _contenders(asked, setting, binary)
    workloads = [one for one in WORKLOADS if asked.only is None or one.name in asked.only]
    samples: list[Sample] = []
    try:
        wait = partial(wait_for_quiet, asked.wait)
        with busy_neighbours(asked.busy):
            for sample in compare(
                workloads, pair, guessing, asked.rounds, console.note, wait, alone=asked.alone
            ):
                samples.append(sample)  # noqa: PERF402 - a failure must not take what came before it
    finally:
        if samples:
            _report(asked, facts, {one.name: one.figures for one in workloads}, samples)
    return 0


def _contenders(
    asked: argparse.Namespace, setting: contenders.Setting, binary: Path
) -> tuple[list[Contender], list[Contender]]:
    """Who takes part in everything, and who joins them where guessing pays."""
    banned = contenders.no_end(setting.model)
    ours = contenders.ours(setting, tuple(asked.our_args), banned)
    theirs = contenders.llama_server(binary, setting, tuple(asked.peer_args), banned)
    if asked.peer_speculation == "none":
        return [ours, theirs], []
    return [ours, theirs], [contenders.guessing(theirs, asked.peer_speculation)]


def _llama_server(named: Path | None) -> Path:
    if named is None:
        return built_llama_server(Build(ROOT), console.note)
    if not (named.is_file() and os.access(named, os.X_OK)):
        raise CompareFailed(f"--llama-server: {named} is no program")
    return named.resolve()


def _report(
    asked: argparse.Namespace,
    facts: dict[str, str | int],
    figures: dict[str, tuple[Figure, ...]],
    samples: list[Sample],
) -> None:
    found = list(rows(figures, samples, contenders.OURS))
    console.write_line(machine.line(facts))
    report.write_table(found, contenders.OURS)
    if asked.json is not None:
        told = {name: value for name, value in vars(asked).items() if name != "json"}
        report.write_json(asked.json, facts, told, found, samples)


def _number(text: str) -> int:
    return _at_least(text, 0)


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _context(text: str) -> int:
    return _at_least(text, _LEAST_CONTEXT)


def _at_least(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least {least}")
    return int(text)


def _new_file(text: str) -> Path:
    """A file whose directory is there: better told now than after the measuring."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    return path


def _stopped(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as an error would, so that no server is left behind."""
    console.note(f"Stopped by {signal.Signals(number).name}.")
    sys.exit(128 + number)


if __name__ == "__main__":
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(each, _stopped)
    sys.exit(main())
