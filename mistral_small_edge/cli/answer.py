"""An answer on the screen: bars while the prompt is read and its pictures are looked at, then text.

The one drawing of a stream; `ask` and `chat` share it. Calls come after the text, a line of JSON each. What a model writes is not trusted with a
terminal: control characters other than newline and tab are shown, not obeyed. Into a pipe the text
goes as it is.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from mistral_small_edge.chat.deltas import (
    ImageProgress,
    Progress,
    TextDelta,
    ToolCallDelta,
    collect,
)
from mistral_small_edge.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from mistral_small_edge.chat.deltas import ChatResponse, Delta
    from mistral_small_edge.chat.tools import ToolCall

# C0 but for tab and newline, DEL, and C1, which some terminals obey like their ESC forms.
_UNTRUSTED = MappingProxyType(
    dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
)


_A_LAYER = 2  # slices; they are not equally long, layers are
_LONG = 10.0  # seconds; of a shorter wait nobody is told who sees no bar


class AnswerStopped(KeyboardInterrupt):
    """Ctrl-C during an answer; `text` is what had been written. Uncaught, it is a Ctrl-C."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


def show(stream: AbstractContextManager[Iterable[Delta]], *, write: bool = True) -> ChatResponse:
    """Write an answer to stdout as it comes, and close the stream whatever happens.

    stdout ends at the start of a line. Without `write` only the bar is drawn.

    Raises:
        AnswerStopped: the user did not want the rest.
    """
    deltas: list[Delta] = []
    try:
        with stream as source, _Screen(write) as screen:
            for delta in source:
                deltas.append(delta)
                screen.draw(delta)
    except KeyboardInterrupt:
        text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        raise AnswerStopped(text) from None
    response = collect(deltas)
    if write:
        for call in response.tool_calls:
            console.write_line(_call_line(call))
    return response


def printable(text: str) -> str:
    """`text` with the characters that a terminal would obey made visible."""
    return text.translate(_UNTRUSTED)


def statistics(response: ChatResponse) -> str:
    """One line: tokens read, tokens written, seconds for each, and the rate of writing."""
    usage, timings = response.usage, response.timings
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    looked = f" ({timings.image_seconds:.1f} s looking)" if timings.image_seconds else ""
    line = (
        f"{usage.prompt_tokens} prompt tokens{cached} in {timings.prompt_seconds:.1f} s{looked}, "
        f"{usage.completion_tokens} tokens in {timings.decode_seconds:.1f} s"
    )
    steps = usage.completion_tokens - 1  # the first token comes with the prompt
    if steps < 1 or timings.decode_seconds <= 0:
        return line
    guessed = f", {usage.accepted_tokens} of them guessed" if usage.accepted_tokens else ""
    return f"{line}: {steps / timings.decode_seconds:.1f} tok/s{guessed}"


def _call_line(call: ToolCall) -> str:
    """`{"name": …, "arguments": …}`; arguments that were cut short stay text."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    return json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)


class _Screen:
    """Where an answer is drawn: the bar on stderr, gone before the first text on stdout."""

    def __init__(self, write: bool) -> None:
        self._write = write
        self._terminal = sys.stdout.isatty()
        self._reading = ExitStack()
        self._bar: console.Bar | None = None
        self._looking: _Looking | None = None
        self._last = ""  # the last character on stdout
        self._called = False

    def draw(self, delta: Delta) -> None:
        match delta:
            case Progress():
                self._advance(delta)
            case ImageProgress():
                self._look(delta)
            case ToolCallDelta():
                self._reading.close()
                self._called = True
            case TextDelta(text) if text:
                self._reading.close()
                if self._write:
                    console.write(printable(text) if self._terminal else text)
                    self._last = text[-1]

    def _look(self, progress: ImageProgress) -> None:
        """A bar for each picture, in the place of the prompt's."""
        if self._looking is None or self._looking.number != progress.number:
            self._reading.close()
            self._bar = None
            name = f"Looking at picture {progress.number} of {progress.total}"
            bar = self._reading.enter_context(console.progress(name, "percent", total=100))
            self._looking = _Looking(progress.number, bar, name)
        self._looking.update(progress.done)

    def _advance(self, progress: Progress) -> None:
        if self._looking is not None:
            self._reading.close()
            self._looking = None
        if self._bar is None:
            bar = console.progress(
                "Reading the prompt", "tokens", initial=progress.cached, total=progress.total
            )
            self._bar = self._reading.enter_context(bar)
        self._bar.update(progress.processed, progress.total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reading.close()
        if self._write and self._needs_newline(kind):
            console.write("\n")

    def _needs_newline(self, kind: type[BaseException] | None) -> bool:
        if kind is None:  # an answer without text is still an answer, and takes its line
            return self._last != "\n" and not (self._called and not self._last)
        # A terminal has echoed ^C: the cursor is not where the text ended.
        echoed = self._terminal and issubclass(kind, KeyboardInterrupt)
        return echoed or self._last not in ("", "\n")


class _Looking:
    """How a picture is told of while it is looked at: a bar, or a line if it takes long."""

    def __init__(self, number: int, bar: console.Bar, name: str) -> None:
        self.number = number
        self._bar = bar
        self._name = name
        self._begun: tuple[float, float] | None = None
        self._slices = 0
        self._told = console.can_draw()

    def update(self, done: float) -> None:
        """Take the next report."""
        self._bar.update(round(100 * done), 100)
        now = time.monotonic()
        if self._begun is None or self._begun[1] >= done:  # the projector was being loaded
            self._begun = now, done
            return
        self._slices += 1
        if self._told or self._slices < _A_LAYER:
            return
        self._told = True
        begun, before = self._begun
        left = (now - begun) / (done - before) * (1 - done)
        if left > _LONG:
            console.note(f"{self._name}: about {left:.0f} s")
