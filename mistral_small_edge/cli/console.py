"""The one output sink: nothing else in the package prints.

stdout carries answers and results, so that they can be piped; everything a person reads while
waiting (notes, progress, errors) goes to stderr. Rich is imported when something has to be drawn,
not before: `--help` and short answers start without it.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import Progress, TaskID

Unit = Literal["bytes", "tokens", "requests", "percent"]


def write(text: str) -> None:
    """Append to stdout and let it be seen at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_line(text: str) -> None:
    """A line on stdout."""
    write(text + "\n")


def write_json(value: object) -> None:
    """One JSON document on stdout, UTF-8, indented for people only if people look."""
    indent = 2 if sys.stdout.isatty() else None
    write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: aligned, and plain text when piped."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    # A pipe has no width: let no cell be folded there.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 240, markup=False)
    console.print(table)


def note(text: str) -> None:
    """A line for the person, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def failure(sentence: str, hint: str) -> None:
    """What went wrong, and what to type next."""
    note(f"error: {sentence}" + (f"\n  {hint}" if hint else ""))


def can_ask() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def can_draw() -> bool:
    """Whether progress can be seen as it goes."""
    return sys.stderr.isatty()


class Bar:
    """A progress bar that may be drawn or not; `update` takes absolute figures."""

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, total: int | None = None, description: str | None = None) -> None:
        """Show `done` of `total`; None leaves total or description as it was."""
        if self._progress is None or self._task is None:
            return
        self._progress.update(self._task, completed=done, total=total, description=description)


@contextmanager
def progress(
    description: str, unit: Unit, *, initial: int = 0, total: int | None = None
) -> Iterator[Bar]:
    """A bar on stderr with rate and time left, gone when done; nothing off a terminal.

    `initial` is work done by an earlier run: shown as done, left out of the rate. `total` None
    is told by a later update.
    """
    if not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import Progress

    bars = Progress(
        *_columns(unit), console=Console(stderr=True), transient=True, refresh_per_second=5
    )
    with bars:
        yield Bar(bars, bars.add_task(description, total=total, completed=initial))


def _columns(unit: Unit) -> list[Any]:
    from rich import progress as rich_progress

    head = [rich_progress.TextColumn("{task.description}"), rich_progress.BarColumn()]
    left = rich_progress.TimeRemainingColumn(compact=True)
    if unit == "bytes":
        return [
            *head,
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
            left,
        ]
    if unit == "tokens":
        return [
            *head,
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("tokens"),
            rich_progress.TaskProgressColumn(show_speed=True),
            left,
        ]
    if unit == "requests":  # each of its own length: how long they take, the caller knows best
        return [*head, rich_progress.MofNCompleteColumn()]
    return [*head, rich_progress.TaskProgressColumn(), left]
