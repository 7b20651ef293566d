"""`sessions`: conversations that were saved, to look at, search, take along and delete."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge import places
from mistral_small_edge.cli import console, failures
from mistral_small_edge.cli.answer import printable
from mistral_small_edge.cli.completion import session_names
from mistral_small_edge.cli.saving import shortened, write_export
from mistral_small_edge.errors import InvalidRequest, SessionError
from mistral_small_edge.sessions import Shelf
from mistral_small_edge.sessions.export import Format, exported
from mistral_small_edge.sessions.search import excerpt, lines_with

if TYPE_CHECKING:
    from mistral_small_edge.chat.conversation import Question
    from mistral_small_edge.sessions import Reading
    from mistral_small_edge.sessions.search import Found

sessions = typer.Typer(
    help="Conversations that were saved.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_EXCERPT = 100  # characters of a line that was found
Name = Annotated[
    str,
    typer.Argument(help="A session, by its name in `sessions list`.", autocompletion=session_names),
]


@sessions.command("list")
def list_sessions(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead.")] = False,
) -> None:
    """Every conversation, the latest used first.

    Exit code 1 if one cannot be read.
    """
    shelf = _shelf()
    readings, all_read = _readings(shelf)
    if as_json:
        console.write_json([_summary(name, reading) for name, reading in readings])
    elif readings:
        columns = ("session", "model", "exchanges", "last used", "begins with")
        console.write_table(columns, [_row(name, reading) for name, reading in readings])
    elif all_read:
        console.note(f"no conversation is saved in {shelf.folder}")
    if not all_read:
        raise typer.Exit(failures.FAILED)


@sessions.command()
def show(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead.")] = False,
) -> None:
    """What was said."""
    reading = _shelf().look(name, pictures=True)
    if as_json:
        console.write_json(_object(name, reading))
        return
    text = exported(reading.session, name, "md")
    console.write(printable(text) if sys.stdout.isatty() else text)


@sessions.command()
def grep(
    text: Annotated[str, typer.Argument(help="What to look for, in capitals or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead.")] = False,
) -> None:
    """Lines of conversations in which a text stands: session, exchange, who said it, the line.

    Exit code 1 if there is none, or a session cannot be read.
    """
    readings, all_read = _readings(_shelf())
    found = [
        (name, each) for name, reading in readings for each in lines_with(text, reading.session)
    ]
    if as_json:
        console.write_json([_found(name, each) for name, each in found])
    else:
        for name, each in found:
            line = printable(excerpt(each.line, text, _EXCERPT))
            console.write_line(f"{name}:{each.exchange}:{each.role}: {line}")
    if not (found and all_read):
        raise typer.Exit(failures.FAILED)


@sessions.command()
def export(
    name: Name,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="md is for people; json is a chat completion's request, pictures included.",
        ),
    ] = "md",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to.", show_default="stdout"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """A conversation for others to read."""
    if force and output is None:
        raise InvalidRequest("--force overwrites a file: name it with --output", "--force")
    text = exported(_shelf().look(name, pictures=True).session, name, form)
    if output is None:
        console.write(text)
    else:
        write_export(output, text, overwrite=force)


@sessions.command()
def remove(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="What to delete.", autocompletion=session_names),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete conversations, and the pictures that no other one shows."""
    shelf = _shelf()
    for name in names:
        shelf.check(name)
    if not yes:
        if not console.can_ask():
            raise InvalidRequest("nobody can be asked here: confirm with --yes", "--yes")
        typer.confirm(f"Delete {', '.join(names)}?", abort=True, err=True)
    for name in names:
        shelf.remove(name)
        console.note(f"{name} is deleted")


def _shelf() -> Shelf:
    try:
        return Shelf(places.data_directory())
    except OSError as error:
        raise InvalidRequest(f"there is no place for sessions: {error}", "session") from error


def _readings(shelf: Shelf) -> tuple[list[tuple[str, Reading]], bool]:
    """Every session that can be read, and whether all can; of the others is told what is wrong."""
    readings, all_read = [], True
    for name in shelf.names():
        try:
            readings.append((name, shelf.look(name)))
        except SessionError as error:
            console.failure(printable(str(error)), failures.hint_for(error))
            all_read = False
    return readings, all_read


def _row(name: str, reading: Reading) -> tuple[str, ...]:
    session = reading.session
    used = f"{reading.ended.astimezone():%Y-%m-%d %H:%M}" if reading.ended else "?"
    count = str(len(session.conversation.exchanges))
    return name, printable(session.model) or "?", count, used, shortened(session.title)


def _summary(name: str, reading: Reading) -> dict[str, object]:
    session = reading.session
    return {
        "name": name,
        "model": session.model or None,
        "exchanges": len(session.conversation.exchanges),
        "tokens": session.conversation.tokens,
        "begun": _time(reading.begun),
        "last_used": _time(reading.ended),
        "begins_with": session.title,
    }


def _object(name: str, reading: Reading) -> dict[str, object]:
    session = reading.session
    exchanges = [
        {**_asked(each.question), "answer": each.answer, "tokens": each.tokens}
        for each in session.conversation.exchanges
    ]
    return {
        "name": name,
        "model": session.model or None,
        "begun": _time(reading.begun),
        "last_used": _time(reading.ended),
        "system": session.conversation.system or None,
        "exchanges": exchanges,
        "unanswered": _asked(session.unanswered) if session.unanswered else None,
    }


def _asked(question: Question) -> dict[str, object]:
    return {"question": question.text, "pictures": [image.digest for image in question.images]}


def _found(name: str, found: Found) -> dict[str, object]:
    return {"name": name, "exchange": found.exchange, "role": found.role, "line": found.line}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
