"""What a person types, until it is one message: the rules for several lines, and plain input.

Rules are pure functions over text; both ways of typing (lines from a pipe here, a terminal in
`repl_terminal`) obey them. Knows nothing of commands or of what becomes of a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FENCE = '"""'


def continued(text: str) -> str | None:
    """`text` with a new line begun, if what was typed asks for one; None if it is complete.

    A single backslash at the end asks, and is gone; so does a fence that opens and does not close.
    """
    if _in_fence(text):
        return text + "\n"
    backslashes = len(text) - len(text.rstrip("\\"))
    return text[:-1] + "\n" if backslashes == 1 else None


def message(text: str) -> str:
    """A complete text as it is meant: no fence, no blank lines around it, valid Unicode."""
    if text.startswith(FENCE):
        inner, _, after = text[len(FENCE) :].partition(FENCE)
        # Text after the closing fence: it was no fence of ours but, say, a pasted docstring.
        text = text if after.strip() else inner
    # What was no UTF-8 came in as lone surrogates.
    return text.strip("\n").rstrip().encode(errors="replace").decode()


def plain_reader(lines: Iterable[str]) -> Callable[[], str | None]:
    """A function that returns the next message, or None after the last one."""
    messages = _messages(iter(lines))
    return lambda: next(messages, None)


def _messages(lines: Iterator[str]) -> Iterator[str]:
    for first in lines:
        text = first.rstrip("\n")
        while (more := continued(text)) is not None:
            following = next(lines, None)
            if following is None:  # a fence left open ends with the input
                break
            text = more + following.rstrip("\n")
        yield message(text)


def _in_fence(text: str) -> bool:
    return text.startswith(FENCE) and FENCE not in text[len(FENCE) :]
