"""When typed text is a message: the rules, and lines from a pipe."""

from __future__ import annotations

import pytest

from mistral_small_edge.cli import repl_input


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("", None),
        ("hello", None),
        ("hello\\", "hello\n"),
        ("a\nb\\", "a\nb\n"),
        ("C:\\\\", None),
        ('"""', '"""\n'),
        ('"""one\\', '"""one\\\n'),
        ('"""one"""', None),
        ('"""one\ntwo"""', None),
        ('say """', None),
    ],
)
def test_what_asks_for_another_line(text: str, more: str | None) -> None:
    assert repl_input.continued(text) == more


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hello  ", "hello"),
        ("\n  indented\n\n", "  indented"),
        ('"""one"""', "one"),
        ('"""\none\n\ntwo\n"""', "one\n\ntwo"),
        ('"""one\n""" ', "one"),
        ('"""Docstring."""\nx = 1', '"""Docstring."""\nx = 1'),
        ("a\udcffb", "a?b"),
    ],
)
def test_a_complete_text_as_it_is_meant(text: str, meant: str) -> None:
    assert repl_input.message(text) == meant


@pytest.mark.parametrize(
    ("lines", "messages"),
    [
        ([], []),
        (["one\n", "\n", "two"], ["one", "", "two"]),
        (["one\\\n", "two\n"], ["one\ntwo"]),
        (['"""one\n', "\n", 'two"""\n', "three\n"], ["one\n\ntwo", "three"]),
        (['"""never closed\n', "two\n"], ["never closed\ntwo"]),
        (["ends here\\"], ["ends here\\"]),
    ],
)
def test_lines_from_a_pipe(lines: list[str], messages: list[str]) -> None:
    read = repl_input.plain_reader(lines)
    assert list(iter(read, None)) == messages
    assert read() is None
