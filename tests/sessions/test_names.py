"""Names that are files' names anywhere, and of no file elsewhere."""

from __future__ import annotations

from datetime import date
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sessions.names import automatic_names, checked_name, is_fit

DAY = date(2026, 7, 14)


@pytest.mark.parametrize(
    "name", ["a", "2026-07-14-a", "über.uns", "हिन्दी", "日本", "a" * 60, "a_b.c"]
)
def test_names_that_will_do(name: str) -> None:
    assert checked_name(name) == name


def test_one_spelling_is_one_name() -> None:
    assert checked_name("u\u0308ber") == "\xfcber"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "~", "-a", ".a", "a.", "a b", "a\n", "a\0",
     "a:b", "a*", "CON", "nul.txt", "com1", "a" * 61, "\u202ea", "a\ud800"],
)  # fmt: skip
def test_names_that_will_not(name: str) -> None:
    with pytest.raises(InvalidRequest, match="its name has up to 60 letters, digits"):
        checked_name(name)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Why is the sky blue at noon?", "2026-07-14-why-is-the-sky-blue"),
        ("", "2026-07-14"),
        ("!?", "2026-07-14"),
        ("../../etc", "2026-07-14-etc"),
        ("Größe: 3 µm", "2026-07-14-größe-3-µm"),
        ("notes.py\n```\nimport", "2026-07-14-notes-py-import"),
    ],
)
def test_what_nobody_named_is_called_by_how_it_begins(title: str, name: str) -> None:
    assert list(islice(automatic_names(DAY, title), 3)) == [name, f"{name}-2", f"{name}-3"]


@settings(deadline=None)
@given(st.text())
def test_any_beginning_makes_a_name(title: str) -> None:
    assert all(is_fit(name) for name in islice(automatic_names(DAY, title), 1000))
