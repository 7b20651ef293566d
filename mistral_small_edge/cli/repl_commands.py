"""The slash commands: state in, state out, and what to tell the person.

Pure: a command reads and returns values, and says by its Outcome what the loop must do (ask the
model, leave). No screen, no model, no input. A wrong command is InvalidRequest, in one line that
says what there is.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from mistral_small_edge.cli import pictures, repl_sessions, repl_settings
from mistral_small_edge.errors import InvalidRequest, NoProjector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mistral_small_edge.chat.conversation import Conversation, Exchange, Question
    from mistral_small_edge.cli.attachments import Attached
    from mistral_small_edge.cli.pictures import Shown
    from mistral_small_edge.cli.repl_sessions import Wish
    from mistral_small_edge.sampling_params import SamplingParams

SLASH = "/"
_LAST_WORD = re.compile(r"(?:\\.|[^\s\\])*$")
KEYS = """\
Enter          sends; Alt-Enter, or a \\ at the end of the line, begins a new line
\"\"\"            begins text of several lines, and ends it
//…            sends a message that begins with a slash
Ctrl-C         stops the answer; at the prompt, clears the line
Ctrl-D         leaves"""


@dataclass(frozen=True, slots=True)
class State:
    """Everything a command may change, and the facts of the model it runs on.

    `pictures` and `attached` go with the next message. `unanswered` was asked, and has no answer yet.
    """

    model: str
    context_length: int
    defaults: SamplingParams
    sampling: SamplingParams
    conversation: Conversation
    stats: bool = False
    sees: bool = False
    pictures: tuple[Shown, ...] = ()
    attached: tuple[Attached, ...] = ()
    unanswered: Question | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command led to: the state after it, lines for the person, what the loop does next.

    `retry` asks the last question anew; its exchange stays in `state` until there is an answer.
    `show` are files whose pictures are to go with the next message, `attach` such whose text is, or
    whose pictures are. `wish` is what to do with saved conversations.
    """

    state: State
    said: str = ""
    show: tuple[str, ...] = ()
    attach: tuple[str, ...] = ()
    wish: Wish | None = None
    retry: bool = False
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """`arguments` as /help shows them; empty if the command takes none."""

    arguments: str
    meaning: str
    run: Callable[[State, str], Outcome]


def is_command(text: str) -> bool:
    """Whether a line is for us, not for the model."""
    return text.startswith(SLASH) and not text.startswith(SLASH * 2)


def unescaped(text: str) -> str:
    """A message as the model gets it: `//` at its start stands for a slash."""
    return text[1:] if text.startswith(SLASH * 2) else text


def run(state: State, line: str) -> Outcome:
    """Carry out a line that begins with a slash.

    Raises:
        InvalidRequest: no such command, or an argument it cannot take.
    """
    name, *rest = line.split(maxsplit=1)
    argument = "".join(rest).strip()
    command = COMMANDS.get(name)
    if command is None:
        raise InvalidRequest(
            f"no command {name!r}; there are: {' '.join(COMMANDS)} (// sends a slash)", "command"
        )
    if argument and not command.arguments:
        raise InvalidRequest(f"{name} takes no arguments", "command")
    return command.run(state, argument)


def last_word(line: str) -> str:
    """What of `line` is to be completed: from the last blank on that no backslash keeps."""
    found = _LAST_WORD.search(line)
    return found[0] if found else ""


def completions(line: str, sessions: Callable[[], Iterable[str]] = tuple) -> list[str]:
    """The words that may end `line`, which is what stands before the cursor.

    Args:
        sessions: the names of saved conversations.
    """
    match line.split(" "):
        case [word] if word.startswith(SLASH):
            known = list(COMMANDS)
        case ["/set", word]:
            known = list(repl_settings.SETTINGS)
        case ["/load", word]:
            known = list(sessions())
        case ["/export", word]:
            known = list(repl_sessions.FORMATS)
        case ["/image" | "/attach", *_] | ["/export", _, *_]:
            return pictures.completions(last_word(line))
        case _:
            return []
    return [name for name in known if name.startswith(word)]


def _help(state: State, _argument: str) -> Outcome:
    usages = {f"{name} {known.arguments}": known.meaning for name, known in COMMANDS.items()}
    width = max(map(len, usages))
    lines = [f"{usage:<{width}}  {meaning}" for usage, meaning in usages.items()]
    return Outcome(state, "\n".join([*lines, "", KEYS]))


def _exit(state: State, _argument: str) -> Outcome:
    return Outcome(state, leave=True)


def _clear(state: State, _argument: str) -> Outcome:
    cleared = replace(state, conversation=state.conversation.cleared(), unanswered=None)
    return Outcome(cleared, "The conversation is empty; system prompt and settings are as before.")


def _retry(state: State, _argument: str) -> Outcome:
    if state.unanswered is not None:
        return Outcome(state, retry=True)
    _need_exchange(state, "/retry")
    sampling = state.sampling
    if not sampling.repeatable:
        return Outcome(state, retry=True)
    name = "temperature" if sampling.temperature == 0 else "seed"
    return Outcome(
        state,
        f"With {name} {getattr(sampling, name)} the same conversation gets the same answer "
        f"(/set {name} changes that).",
        retry=True,
    )


def _undo(state: State, _argument: str) -> Outcome:
    if state.unanswered is not None:
        question, shortened = state.unanswered.text, replace(state, unanswered=None)
    else:
        question = _need_exchange(state, "/undo").question.text
        shortened = replace(state, conversation=state.conversation.shortened())
    return Outcome(shortened, f"Taken back: {textwrap.shorten(question, 60, placeholder=' …')}")


def _image(state: State, argument: str) -> Outcome:
    if not argument:
        names = ", ".join(shown.name for shown in state.pictures) or repl_settings.RESET
        return Outcome(state, f"Pictures with the next message: {names}")
    if argument == repl_settings.RESET:
        return Outcome(replace(state, pictures=()), "No picture goes with the next message.")
    if not state.sees:
        raise NoProjector(state.model)
    return Outcome(state, show=tuple(pictures.file_names(argument)))


def _attach(state: State, argument: str) -> Outcome:
    if not argument:
        names = ", ".join(each.name for each in state.attached) or repl_settings.RESET
        return Outcome(state, f"Texts with the next message: {names}")
    if argument == repl_settings.RESET:
        return Outcome(replace(state, attached=()), "No text goes with the next message.")
    return Outcome(state, attach=tuple(pictures.file_names(argument)))


def _save(state: State, argument: str) -> Outcome:
    return Outcome(state, wish=repl_sessions.save(argument))


def _load(state: State, argument: str) -> Outcome:
    return Outcome(state, wish=repl_sessions.load(argument))


def _sessions(state: State, _argument: str) -> Outcome:
    return Outcome(state, wish=repl_sessions.ShowLatest())


def _export(state: State, argument: str) -> Outcome:
    _need_exchange(state, "/export")
    return Outcome(state, wish=repl_sessions.export(argument))


def _system(state: State, text: str) -> Outcome:
    if not text:
        prompt = state.conversation.system or "none"
        return Outcome(state, f"System prompt: {prompt}")
    system = "" if text == repl_settings.RESET else text
    changed = replace(state, conversation=replace(state.conversation, system=system))
    return Outcome(changed, "The system prompt is removed." if not system else "System prompt set.")


def _set(state: State, argument: str) -> Outcome:
    name, *rest = argument.split(maxsplit=1)[:2] or [""]
    if not name:
        return Outcome(state, repl_settings.listing(state.sampling))
    if not rest:
        return Outcome(state, repl_settings.described(state.sampling, name))
    sampling = repl_settings.changed(state.sampling, name, rest[0], state.defaults)
    value = repl_settings.shown(sampling, name)
    return Outcome(replace(state, sampling=sampling), f"{name} is {value} from the next answer on.")


def _show(state: State, _argument: str) -> Outcome:
    tokens = state.conversation.tokens
    used = f"{tokens} of {state.context_length} tokens"
    if tokens is None:
        used = f"not counted, for the last answer was stopped; holds {state.context_length} tokens"
    lines = [
        f"model          {state.model}",
        f"context        {used}",
        f"exchanges      {len(state.conversation.exchanges)}",
        f"sees pictures  {'yes' if state.sees else 'no'}",
        f"system prompt  {state.conversation.system or repl_settings.RESET}",
        f"statistics     {_on_off(state.stats)}",
    ]
    return Outcome(state, "\n".join([*lines, "", repl_settings.listing(state.sampling)]))


def _stats(state: State, _argument: str) -> Outcome:
    toggled = replace(state, stats=not state.stats)
    return Outcome(toggled, f"Statistics after each answer: {_on_off(toggled.stats)}.")


def _on_off(value: bool) -> str:
    return "on" if value else "off"


def _need_exchange(state: State, command: str) -> Exchange:
    last = state.conversation.last
    if last is None:
        raise InvalidRequest(f"nothing to {command[1:]}: the conversation is empty", "command")
    return last


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "/help": Command("", "this list", _help),
        "/exit": Command("", "leave", _exit),
        "/clear": Command("", "forget what was said", _clear),
        "/retry": Command("", "answer the last message anew", _retry),
        "/undo": Command("", "take the last message and its answer back", _undo),
        "/image": Command(
            "[FILE …]", "pictures for the next message; none takes them back", _image
        ),
        "/attach": Command("[FILE …]", "texts for the next message; none takes them back", _attach),
        "/save": Command("[NAME]", "save the conversation, or call it otherwise", _save),
        "/load": Command("NAME", "go on with a saved conversation", _load),
        "/sessions": Command("", "saved conversations, the latest first", _sessions),
        "/export": Command(
            "md|json [FILE]", "write the conversation to a file; --force overwrites", _export
        ),
        "/system": Command("[TEXT]", "show or set the system prompt; none removes it", _system),
        "/set": Command("[NAME [VALUE]]", "show or change settings; none resets one", _set),
        "/show": Command("", "model, context used, system prompt, settings", _show),
        "/stats": Command("", "statistics after each answer, on or off", _stats),
    }
)
