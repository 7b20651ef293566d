"""A text in what was said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mistral_small_edge.chat.conversation import Question
from mistral_small_edge.sessions.search import Found, excerpt, lines_with
from tests.sessions.talks import ASKED_ANEW


def test_every_line_is_found_whoever_said_it() -> None:
    session = replace(ASKED_ANEW, unanswered=Question("one\ntwo is brief"))
    assert list(lines_with("STRASSE", session)) == [Found(1, "assistant", "Straße ")]
    assert list(lines_with("brief", session)) == [
        Found(0, "system", "Be brief."),
        Found(2, "user", "two is brief"),
    ]
    assert list(lines_with("nowhere", session)) == []


@pytest.mark.parametrize(
    ("line", "text", "shown"),
    [
        ("short", "or", "short"),
        ("a" * 9 + "HERE" + "b" * 9, "here", "…aaaHEREbbb…"),
        ("here" + "b" * 19, "here", "herebbbbbb…"),
        ("a" * 19 + "here", "here", "…aaaaaahere"),
        ("longer than ten", "longer than ten", "longer than ten"),
    ],
)
def test_an_excerpt_has_what_was_looked_for(line: str, text: str, shown: str) -> None:
    assert excerpt(line, text, 10) == shown
