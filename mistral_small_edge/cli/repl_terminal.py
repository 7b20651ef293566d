"""Typing in a terminal: prompt_toolkit, with history across runs, completion and several lines.

The only module that knows prompt_toolkit; importing it is slow, so only a terminal session does.
What a finished text means is not known here.
"""

from __future__ import annotations

import os
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import create_output

from mistral_small_edge.cli import console, failures, repl_commands, repl_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyPressEvent

PROMPT: StyleAndTextTuples = [("bold", "> ")]
AIR: StyleAndTextTuples = [("", "\n")]
CONTINUATION = "  "


class Terminal:
    """A prompt that can be read again and again; `model` is named in its placeholder.

    Args:
        sessions: the names of saved conversations.
    """

    def __init__(self, model: str, sessions: Callable[[], Iterable[str]] = tuple) -> None:
        self._model = model.rpartition("/")[2]  # of a path, its last part
        self._history = _open_history()
        self._begun = False
        self._session: PromptSession[str] = PromptSession(
            self._prompt,
            multiline=True,
            prompt_continuation=CONTINUATION,
            placeholder=self._placeholder,
            history=self._history,
            completer=_Commands(sessions),
            complete_while_typing=Condition(lambda: get_app().current_buffer.text.startswith("/")),
            key_bindings=_keys(sessions),
            enable_suspend=True,
            # Answers may be piped away: the prompt then is drawn on stderr.
            output=create_output(always_prefer_tty=True),
        )

    def read(self) -> str | None:
        """The next message, or None when the user leaves.

        Ctrl-C drops what was typed; on an empty line it says how to leave.
        """
        while True:
            try:
                text = self._session.prompt()
            except EOFError:
                return None
            except KeyboardInterrupt:
                if not self._session.default_buffer.text:
                    console.note("Ctrl-D or /exit leaves.")
            else:
                self._begun = True
                self._tell_lost_history()
                return repl_input.message(text)

    def _tell_lost_history(self) -> None:
        if isinstance(self._history, _History) and (reason := self._history.lost):
            self._history.lost = None
            console.note(f"History lasts for this run only from here: {reason}")

    def _prompt(self) -> StyleAndTextTuples:
        return [*AIR, *PROMPT] if self._begun else PROMPT

    def _placeholder(self) -> StyleAndTextTuples:
        if get_app().is_done:  # nothing to be left in the scrollback
            return []
        return [("ansibrightblack", f"Message {self._model}, or /help")]


def history_file() -> Path:
    """Where what was typed is kept; by the XDG rules, a relative $XDG_STATE_HOME does not count.

    Raises:
        OSError: there is no home to keep it in.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError as error:
            raise OSError(str(error)) from error
    return state / failures.PROGRAM / "chat_history"


def _open_history() -> History:
    """The file's history, readable by its owner alone; this run's only if the file will not do."""
    try:
        path = history_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        console.note(f"History lasts for this run only: {error}")
        return InMemoryHistory()
    return _History(path)


class _History(FileHistory):
    """Goes on in memory once the file fails, on a full disk say.

    `lost` is why, for the prompt's owner to tell: a note while the prompt is drawn would tear it.
    """

    lost: OSError | None = None
    _failed = False

    def load_history_strings(self) -> Iterable[str]:
        try:
            return super().load_history_strings()
        except OSError as error:
            self._fail(error)
            return ()

    def store_string(self, string: str) -> None:
        if self._failed:
            return
        try:
            super().store_string(string)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.lost = error
        self._failed = True


class _Commands(Completer):
    """Completes slash commands, and the names and files after some of them."""

    def __init__(self, sessions: Callable[[], Iterable[str]]) -> None:
        self._sessions = sessions

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 - the interface's
    ) -> Iterable[Completion]:
        line = document.text_before_cursor
        for word in repl_commands.completions(line, self._sessions):
            yield Completion(word, start_position=-len(repl_commands.last_word(line)))


def _keys(sessions: Callable[[], Iterable[str]]) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        more = repl_input.continued(buffer.text)
        if more is None:
            buffer.validate_and_handle()
        elif buffer.document.is_cursor_at_the_end:
            buffer.document = Document(more)
        else:
            buffer.insert_text("\n")

    @keys.add("tab")
    def _complete(event: KeyPressEvent) -> None:
        # prompt_toolkit's own Tab completes later than somebody types on.
        buffer = event.current_buffer
        line = buffer.document.text_before_cursor
        common = commonprefix(repl_commands.completions(line, sessions))  # noqa: RUF071 - no paths
        if missing := common[len(repl_commands.last_word(line)) :]:
            buffer.insert_text(missing)
        elif buffer.complete_state is not None:
            buffer.complete_next()
        else:
            buffer.start_completion()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
