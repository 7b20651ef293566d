"""Where the conversation at hand is saved: in a session's file, in one that is yet to come, or nowhere.

A conversation is worth more than its file: what the disk does not take is a note, and is tried again
with the next answer. Knows no model and no loop.
"""

from __future__ import annotations

import textwrap
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mistral_small_edge import places
from mistral_small_edge.cli import console
from mistral_small_edge.cli.answer import printable
from mistral_small_edge.cli.failures import PROGRAM
from mistral_small_edge.errors import InvalidRequest, SessionError, SessionUnreachable
from mistral_small_edge.sessions import Session, Shelf
from mistral_small_edge.sessions.aside import write_aside
from mistral_small_edge.sessions.export import exported
from mistral_small_edge.sessions.names import checked_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.cli.repl_sessions import Export
    from mistral_small_edge.sessions.journal import Journal

    When = Literal["always", "named", "never"]

LATEST = 10  # that /sessions shows
_TITLE = 60  # characters of what a session begins with


class Saving:
    """Close it when done.

    Args:
        when: "always" gives a conversation a file once something is asked, "named" once somebody
            names one, "never" refuses.
    """

    def __init__(self, shelf: Shelf, when: When) -> None:
        self._shelf = shelf
        self._when = when
        self._journal: Journal | None = None
        self._failed = False

    @property
    def name(self) -> str:
        """What the session is called; empty if the conversation is not saved."""
        return self._journal.name if self._journal else ""

    @property
    def saves(self) -> bool:
        """Whether anything is ever saved."""
        return self._when != "never"

    def names(self) -> list[str]:
        """Every session, the latest used first."""
        return self._shelf.names()

    def keep(self, session: Session) -> None:
        """Save what has changed, if it is to be saved."""
        try:
            if self._journal is None:
                if self._when != "always" or not session.title:
                    return
                self._journal = self._shelf.create_for(session)
            self._journal.keep(session)
        except SessionUnreachable as error:
            if not self._failed:
                console.note(printable(f"The conversation is not saved: {error}"))
            self._failed = True
        else:
            if self._failed:
                console.note("The conversation is saved again.")
            self._failed = False

    def save(self, name: str, session: Session) -> None:
        """Save the conversation under a name; if it has one, call it otherwise.

        Raises:
            InvalidRequest: nothing is to be saved, or another session is called so.
            SessionUnreachable: the disk does not take it.
        """
        if not self.saves:
            raise InvalidRequest("nothing is saved in a conversation with --no-save", "command")
        if self._journal is None:
            self._journal = self._shelf.create(name) if name else self._shelf.create_for(session)
        elif name:
            self._shelf.rename(self._journal, name)
        self._journal.keep(session)

    def switch(self, name: str) -> Session:
        """Go on with another session.

        Raises:
            SessionError: it is not there, damaged, or open elsewhere; the present one stays.
        """
        if name == self.name and self._journal is not None:
            return self._journal.session
        if not self.saves:
            return self._shelf.look(name, pictures=True).session
        journal = self._shelf.open(name)
        self.close()
        self._journal = journal
        return journal.session

    def latest(self) -> str:
        """The latest sessions, one a line; what is damaged says so."""
        names = self.names()
        if not names:
            return "No conversation is saved yet."
        shown = names[:LATEST]
        width = max(map(len, shown))
        lines = [f"{name:<{width}}  {self._described(name)}" for name in shown]
        if len(names) > LATEST:
            lines.append(f"… and {len(names) - LATEST} more: {PROGRAM} sessions list")
        return "\n".join(lines)

    def export(self, wish: Export, session: Session) -> Path:
        """Write the conversation to a file, whole or not at all.

        Raises:
            InvalidRequest: the file is there already, or cannot be written.
        """
        name = self.name or "conversation"
        path = wish.file or Path(f"{name}.{wish.form}")
        write_export(path, exported(session, name, wish.form), overwrite=wish.overwrite)
        return path

    def close(self) -> None:
        """Let others have the session. Idempotent."""
        if self._journal is not None:
            self._journal.close()
        self._journal = None

    def _described(self, name: str) -> str:
        here = " (this one)" if name == self.name else ""
        try:
            session = self._shelf.look(name).session
        except SessionError as error:
            return str(error)
        return f"{described(session)}{here}"


@contextmanager
def begun(
    name: str | None, *, resume: bool, no_save: bool, interactive: bool
) -> Iterator[tuple[Saving | None, Session]]:
    """Where this process's conversation is saved, and what it goes on with.

    Args:
        name: of a session, old or new; None leaves it to the first words.
        resume: go on with the last one.

    Raises:
        InvalidRequest: two of these contradict each other, or no session can be called so.
        SessionError: it is not there, damaged, or open elsewhere.
    """
    if name is not None and resume:
        raise InvalidRequest("--resume means the last session, --session NAME another", "--session")
    try:
        shelf = Shelf(places.data_directory())
    except OSError as error:  # there is no home to keep it in
        if name is not None or resume:
            raise InvalidRequest(f"there is no place for sessions: {error}", "--session") from error
        yield None, Session()
        return
    saving = Saving(shelf, "never" if no_save else "always" if interactive else "named")
    with closing(saving):
        yield saving, _beginning(saving, shelf.last() if resume else name)


def _beginning(saving: Saving, name: str | None) -> Session:
    if name is None:
        return Session()
    if checked_name(name) in saving.names() or not saving.saves:
        return saving.switch(name)
    saving.save(name, Session())
    return Session()


def write_export(path: Path, text: str, *, overwrite: bool) -> None:
    """Write what was exported.

    Raises:
        InvalidRequest: it is there and not to be overwritten, or the disk does not take it.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise InvalidRequest(f"{path} is no file", "file")
    try:
        write_aside(path, text.encode(errors="replace"), replace=overwrite)
    except FileExistsError:
        raise InvalidRequest(f"{path} is there already; --force overwrites it", "file") from None
    except OSError as error:
        reason = error.strerror or error
        raise InvalidRequest(f"{path} cannot be written: {reason}", "file") from error


def greeting(session: Session, name: str) -> str:
    """For whoever goes on with a session: where it stands; without a name it is not saved."""
    talk = session.conversation
    lines = [f"Session {name or '(not saved)'}: {described(session)}"]
    if talk.last is not None and len(talk.exchanges) > 1:
        lines.append(f"Asked last: {shortened(talk.last.question.text)}")
    if session.unanswered is not None:
        waiting = shortened(session.unanswered.text)
        lines.append(f"Not answered yet: {waiting} (/retry asks it again)")
    return "\n".join(lines)


def described(session: Session) -> str:
    """One line: how long it is, and what it begins with."""
    count = len(session.conversation.exchanges)
    title = shortened(session.title)
    return f"{count} exchange{'' if count == 1 else 's'}  {title}"


def shortened(text: str) -> str:
    """The beginning of a text, on one line of a terminal."""
    return printable(textwrap.shorten(text, _TITLE, placeholder=" …"))
