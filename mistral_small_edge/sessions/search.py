"""Finding a text in what was said. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.sessions.session import Session


@dataclass(frozen=True, slots=True)
class Found:
    """A line in which the text stands, whole; `exchange` counts from 1, 0 is the system prompt."""

    exchange: int
    role: str
    line: str


def lines_with(text: str, session: Session) -> Iterator[Found]:
    """Every line in which `text` stands, in capitals or not."""
    wanted = text.casefold()
    for exchange, role, said in _said(session):
        for line in said.splitlines():
            if wanted in line.casefold():
                yield Found(exchange, role, line)


def excerpt(line: str, text: str, width: int) -> str:
    """`width` characters of a line, or more if `text` has more, with `text` among them."""
    width = max(width, len(text))
    at = max(line.casefold().find(text.casefold()), 0)  # some letters are two when folded: nearly
    begin = max(0, min(at - (width - len(text)) // 2, len(line) - width))
    end = begin + width
    return ("…" if begin else "") + line[begin:end] + ("…" if end < len(line) else "")


def _said(session: Session) -> Iterator[tuple[int, str, str]]:
    exchanges = session.conversation.exchanges
    yield 0, "system", session.conversation.system
    for number, exchange in enumerate(exchanges, 1):
        yield number, "user", exchange.question.text
        yield number, "assistant", exchange.answer
    if session.unanswered is not None:
        yield len(exchanges) + 1, "user", session.unanswered.text
