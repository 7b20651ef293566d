"""Measures several servers behind a stock proxy, as `scripts/replicas`: `python -m scripts.replicas`.

The proxy runs from its file in scripts/deploy. The same conversations are held with one server behind
it, with all of them, and with all of them without the header that tells conversations apart; then one
is killed while it answers. `again` is the part of the prompts that was not read again. Everything is
on this machine: servers that share its cores are no faster together than one that has them all.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mistral_small_edge.cli import console
from mistral_small_edge.errors import EdgeError, readable_size
from mistral_small_edge.store.catalog import resolve
from scripts.behind.load import Held, Talks, hold, kill_one
from scripts.behind.proxies import FILES, proxy
from scripts.beside import contenders, machine
from scripts.beside.errors import CompareFailed
from scripts.beside.servers import running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from scripts.beside.servers import Server


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
        prog="scripts/replicas", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--model", default="demo", help="as everywhere (%(default)s)")
    parser.add_argument("--proxy", choices=sorted(FILES), default="haproxy", help="(%(default)s)")
    numbers = (
        ("replicas", 3, "servers"),
        ("threads", 1, "of each server"),
        ("slots", 4, "of each server"),
        ("context", 4096, "tokens of a slot"),
        ("conversations", 6, "held at the same time"),
        ("turns", 4, "of each conversation, 6 at most"),
        ("tokens", 32, "of each answer"),
        ("requests", 12, "under way when a server is killed"),
    )
    for name, default, what in numbers:
        parser.add_argument(
            f"--{name}", type=_positive, default=default, help=f"{what} (%(default)s)"
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    asked = parser.parse_args(words)
    if asked.turns > 6:
        parser.error("--turns: a conversation has 6 at most")
    if asked.json is not None and not asked.json.parent.is_dir():
        parser.error(f"--json: there is no directory {asked.json.parent}")
    return asked


def _measure(asked: argparse.Namespace) -> int:
    model = resolve(asked.model)
    setting = contenders.Setting(
        model=model.path, threads=asked.threads, context=asked.context, slots=asked.slots
    )
    contender = contenders.ours(setting, (), contenders.no_end(model.path))
    about = (
        f"{machine.processor()}; {model.path.name} ({readable_size(model.size)}), "
        f"{asked.replicas} servers of {asked.threads} threads and {asked.slots} slots "
        f"behind {asked.proxy}"
    )
    console.note(about)
    with ExitStack() as held:
        servers = []
        for number in range(asked.replicas):
            console.note(f"starting server {number + 1} of {asked.replicas}")
            servers.append(held.enter_context(running(contender)))
        talked = _talked(asked, servers)
        killed = _killed(asked, servers) if len(servers) > 1 else {}
    console.write_line(about)
    _write_tables(talked, killed)
    if asked.json is not None:
        told = {name: value for name, value in vars(asked).items() if name != "json"}
        figures = {name: asdict(one) for name, one in talked.items()}
        document = {"machine": about, "options": told, "conversations": figures, "kill": killed}
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _talked(asked: argparse.Namespace, servers: Sequence[Server]) -> dict[str, Held]:
    """The same conversations, but for their names, held in every way."""
    talks = Talks(asked.conversations, asked.turns, asked.tokens)
    ways = {"1 server": (servers[:1], True)}
    if len(servers) > 1:
        ways[f"{len(servers)} servers"] = (servers, True)
        ways[f"{len(servers)} servers, no key"] = (servers, False)
    found = {}
    for place, (name, (behind, keyed)) in enumerate(ways.items()):
        console.note(f"{talks.count} conversations with {name}")
        with proxy(asked.proxy, [one.client.port for one in behind]) as port:
            client = replace(servers[0].client, name=name, port=port)
            found[name] = hold(client, talks, place * talks.count, keyed=keyed)
    return found


def _killed(asked: argparse.Namespace, servers: Sequence[Server]) -> dict[str, int]:
    console.note(f"{asked.requests} requests, and a kill")
    with proxy(asked.proxy, [one.client.port for one in servers]) as port:
        client = replace(servers[0].client, name=asked.proxy, port=port)
        return kill_one(client, servers, asked.requests)


def _write_tables(talked: dict[str, Held], killed: dict[str, int]) -> None:
    one = talked["1 server"]
    rows = [
        [name, f"{held.rate:.1f}", f"{held.rate / one.rate:.2f}", f"{held.hits:.0%}"]
        for name, held in talked.items()
    ]
    console.write_table(["conversations with", "tok/s", "ratio", "again"], rows)
    if killed:
        fates = [[name, str(count)] for name, count in sorted(killed.items())]
        console.write_table(["with one server killed", "requests"], fates)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return int(text)


def _stopped(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as an error would, so that no server is left behind."""
    console.note(f"Stopped by {signal.Signals(number).name}.")
    sys.exit(128 + number)


if __name__ == "__main__":
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(each, _stopped)
    sys.exit(main())
