"""What a person may ask to be done with saved conversations, as typed after a slash command.

Text in, wishes out. Pure: the loop grants them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mistral_small_edge.cli import pictures
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sessions.export import Format
from mistral_small_edge.sessions.names import checked_name
from mistral_small_edge.sessions.session import Session
from mistral_small_edge.store.source import HUB_PREFIX

if TYPE_CHECKING:
    from mistral_small_edge.cli.repl_commands import State

FORCE = "--force"
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, slots=True)
class Save:
    """Save the conversation, under this name if there is one."""

    name: str


@dataclass(frozen=True, slots=True)
class Load:
    """Go on with another one."""

    name: str


@dataclass(frozen=True, slots=True)
class ShowLatest:
    """Show which there are."""


@dataclass(frozen=True, slots=True)
class Export:
    """Write the conversation to a file; None for one that is called as the session is."""

    form: Format
    file: Path | None
    overwrite: bool


Wish = Save | Load | ShowLatest | Export


def save(argument: str) -> Save:
    """`/save [NAME]`.

    Raises:
        InvalidRequest: no session can be called so.
    """
    return Save(checked_name(argument) if argument else "")


def load(argument: str) -> Load:
    """`/load NAME`.

    Raises:
        InvalidRequest: there is no name, or none that a session can have.
    """
    if not argument:
        raise InvalidRequest("/load takes a name; /sessions shows them", "command")
    return Load(checked_name(argument))


def export(argument: str) -> Export:
    """`/export md|json [FILE] [--force]`.

    Raises:
        InvalidRequest: it reads otherwise.
    """
    words = pictures.file_names(argument)
    form, *files = [word for word in words if word != FORCE] or [""]
    known = next((each for each in FORMATS if each == form), None)
    if known is None or len(files) > 1:
        raise InvalidRequest(
            f"/export takes {' or '.join(FORMATS)}, and a file's name if it is to have another",
            "command",
        )
    file = Path(files[0]).expanduser() if files else None
    return Export(known, file, overwrite=FORCE in words)


def session_of(state: State) -> Session:
    """What of a state outlives the program."""
    return Session(lasting_name(state.model), state.sampling, state.conversation, state.unanswered)


def resumed(state: State, session: Session) -> State:
    """`state` with another conversation; its settings, too, if it was held with the same model."""
    same = session.model == lasting_name(state.model)
    return replace(
        state,
        conversation=session.conversation,
        unanswered=session.unanswered,
        sampling=session.sampling if same and session.sampling else state.sampling,
        pictures=(),
        attached=(),
    )


def lasting_name(model: str) -> str:
    """A model's name that means the same in another folder."""
    is_file = model.lower().endswith(".gguf") and not model.startswith(HUB_PREFIX)
    return str(Path(model).expanduser().absolute()) if is_file else model
