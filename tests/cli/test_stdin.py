"""Input from a pipe: whole, line by line, and bounded."""

from __future__ import annotations

import io
import sys

import pytest

from mistral_small_edge.cli import stdin
from mistral_small_edge.errors import InvalidRequest


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that does not end within what is accepted."""
    endless = io.BytesIO(b"x" * (stdin.MAX_CHARACTERS + 2))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless, "utf-8"))
    monkeypatch.setattr("select.select", lambda *_: ([1], [], []))


@pytest.mark.usefixtures("full")
def test_a_text_that_no_context_holds_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="longer than 16777216") as caught:
        stdin.read_text()
    assert caught.value.param == "stdin"


@pytest.mark.usefixtures("full")
def test_a_line_that_does_not_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="a line of stdin"):
        next(stdin.lines())


def test_no_stdin_is_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert list(stdin.lines()) == []
    assert not stdin.piped()
