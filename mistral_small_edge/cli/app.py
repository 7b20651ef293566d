"""What all commands have in common, and the one place where an error becomes a sentence and a code."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from mistral_small_edge.cli import console, failures
from mistral_small_edge.cli.commands import Commands
from mistral_small_edge.cli.completion import join_bash_words
from mistral_small_edge.errors import EdgeError

app = typer.Typer(
    name=failures.PROGRAM,
    cls=Commands,
    help="Mistral Small 3.2 on your own CPU or Mac.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # a fifth of what all else here takes to import

        console.write(f"{failures.PROGRAM} {version(failures.PROGRAM)}\n")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Mistral Small 3.2 on your own CPU or Mac."""


def _accept_any_text() -> None:
    """Where the terminal's encoding lacks a character, show that rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def main() -> None:
    """Run the command line; exits with the codes documented in `failures`."""
    _accept_any_text()
    join_bash_words()
    try:
        app()
    except EdgeError as error:
        console.failure(str(error), failures.hint_for(error))
        sys.exit(failures.face_of(error).exit_code)
    except KeyboardInterrupt:
        sys.exit(failures.INTERRUPTED)
    except BrokenPipeError:
        # The reader left: nobody is there to be told. Keep the interpreter's own flush quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(failures.FAILED)
