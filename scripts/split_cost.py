"""Measures what a split model sends between machines, as `scripts/split_cost`: `python -m scripts.split_cost`.

The workers are on this machine, and every byte on the way to them and back is counted, without TCP's own.
It depends on the model's width, and hardly on its layers: a file of two layers, as `scripts/synthesize
text FILE --layers 2` writes it, says what the whole one does. `waits` is how often an answer is waited for. The speeds
are what a network alone would allow, if computing took no time.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.cli import console
from mistral_small_edge.errors import EdgeError
from mistral_small_edge.store.catalog import resolve
from scripts.wire.measuring import Cost, WorkerSilent, measure
from scripts.wire.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS = (
    *("workers", "flash", "context"),
    *("written: to a worker", "and back", "waits"),
    *("read: to a worker", "and back", "waits"),
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit code."""
    asked = options(words)
    found: list[Cost] = []
    try:
        _measure(asked, found)
    except (EdgeError, WorkerSilent) as failure:
        console.note(f"error: {failure}")
        return 1
    except KeyboardInterrupt:
        console.note("Stopped.")
        return 130
    finally:  # a failure must not take what came before it
        if found:
            _report(asked.json, found)
    return 0


def options(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line; says what is wrong with it and leaves if something is."""
    parser = argparse.ArgumentParser(
        prog="scripts/split_cost", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("-m", "--model", default="demo", help="as everywhere (%(default)s)")
    parser.add_argument(
        "--workers", type=_positive, nargs="+", default=[1, 2], metavar="N", help="(1 2)"
    )
    parser.add_argument(
        "--depths",
        type=_positive,
        nargs="+",
        default=[200, 1000],
        metavar="TOKENS",
        help="in the context (200 1000)",
    )
    parser.add_argument(
        "--threads", type=_positive, default=1, help="of each machine (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    asked = parser.parse_args(words)
    if asked.json is not None and not asked.json.parent.is_dir():
        parser.error(f"--json: there is no directory {asked.json.parent}")
    return asked


def rates(cost: Cost) -> dict[str, tuple[float, float]]:
    """On each network: tokens a second at most that are written, and that are read.

    An answer visits the workers one after the other, and so does a prompt.
    """
    return {
        network.name: (
            1 / (cost.workers * network.seconds(cost.written)),
            1 / (cost.workers * network.seconds(cost.read)),
        )
        for network in NETWORKS
    }


def _measure(asked: argparse.Namespace, found: list[Cost]) -> None:
    model = resolve(asked.model).path
    for workers in asked.workers:
        for flash_attention in (False, True):
            console.note(f"{workers} worker{'s' * (workers > 1)}, {_way(flash_attention)}")
            for cost in measure(model, workers, asked.depths, asked.threads, flash_attention):
                found.append(cost)  # noqa: PERF402 - as each comes


def _report(file: Path | None, found: Sequence[Cost]) -> None:
    _write(found)
    if file is not None:
        text = json.dumps([_as_json(cost) for cost in found], indent=1) + "\n"
        file.write_text(text, encoding="utf-8")


def _write(found: Sequence[Cost]) -> None:
    networks = [f"{network.name}: written/s" for network in NETWORKS]
    columns = [*_COLUMNS, *(name for each in networks for name in (each, "read/s"))]
    console.write_table(columns, [_cells(cost) for cost in found])


def _cells(cost: Cost) -> list[str]:
    traffic = (
        cell
        for one in (cost.written, cost.read)
        for cell in (f"{one.there:,.0f} B", f"{one.back:,.0f} B", f"{one.waits:.3g}")
    )
    speeds = (f"{speed:,.0f}" for both in rates(cost).values() for speed in both)
    flash = "on" if cost.flash_attention else "off"
    return [str(cost.workers), flash, str(cost.depth), *traffic, *speeds]


def _as_json(cost: Cost) -> dict[str, object]:
    speeds = {
        name: {"written_per_second": written, "read_per_second": read}
        for name, (written, read) in rates(cost).items()
    }
    return {**asdict(cost), "networks": speeds}


def _way(flash_attention: bool) -> str:
    return f"--flash-attention {'on' if flash_attention else 'off'}"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
