"""What happened between two sessions, said in events; and events as lines. No files."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.chat.conversation import Question
from mistral_small_edge.errors import SessionDamaged
from mistral_small_edge.sessions import Session
from mistral_small_edge.sessions.events import Begun, Line, decoded, encoded
from mistral_small_edge.sessions.journal import read
from mistral_small_edge.sessions.session import (
    Answered,
    Asked,
    ModelChosen,
    SamplingSet,
    Shortened,
    SystemSet,
    Withdrawn,
    applied,
    changes,
)
from tests.sessions.talks import ANSWERED, ASKED, ASKED_ANEW, PICTURES, RED, SAMPLING, sessions

if TYPE_CHECKING:
    from mistral_small_edge.sessions.session import Event

TIME = datetime(2026, 7, 14, 12, tzinfo=UTC)
FILE = Path("a.jsonl")


def after(session: Session, event: Event) -> Session:
    return applied(session, event, PICTURES.__getitem__)


def lines(*events: Event | Begun) -> bytes:
    return b"".join(encoded(Line(event, TIME)) for event in events)


def written(history: list[Session]) -> list[Event]:
    return [e for a, b in zip([Session(), *history], history, strict=False) for e in changes(a, b)]


@settings(deadline=None)
@given(sessions, sessions)
def test_what_happened_makes_the_one_of_the_other(before: Session, now: Session) -> None:
    assert reduce(after, changes(before, now), before) == now


@settings(deadline=None)
@given(sessions)
def test_where_nothing_happened_nothing_is_said(session: Session) -> None:
    assert list(changes(session, session)) == []


@pytest.mark.parametrize(
    ("before", "now", "events"),
    [
        (
            Session(),
            ASKED,
            [
                ModelChosen("demo"),
                SamplingSet(SAMPLING),
                SystemSet("Be brief."),
                Asked("What is this?", (RED.digest,)),
            ],
        ),
        (ASKED, ANSWERED, [Answered(0, "Something red.\n", 12)]),
        (ASKED, replace(ASKED, unanswered=None), [Withdrawn()]),
        (ANSWERED, ASKED_ANEW, [Answered(0, "Straße \u2028 \0 \U0001f600")]),
        (ANSWERED, replace(ANSWERED, conversation=ANSWERED.conversation.cleared()), [Shortened(0)]),
        (
            replace(ANSWERED, unanswered=Question("and?")),
            replace(ANSWERED, unanswered=Question("or?")),
            [Asked("or?")],
        ),
    ],
    ids=["asked", "answered", "withdrawn", "anew", "cleared", "another question"],
)
def test_as_few_events_as_there_are(before: Session, now: Session, events: list[Event]) -> None:
    assert list(changes(before, now)) == events


@settings(deadline=None)
@given(st.lists(sessions, max_size=3))
def test_every_event_is_a_line_and_comes_back(history: list[Session]) -> None:
    for event in written(history):
        line = encoded(Line(event, TIME))
        assert line.count(b"\n") == 1
        assert decoded(line) == Line(event, TIME)


@settings(deadline=None)
@given(st.lists(sessions, max_size=3), st.data())
def test_a_file_cut_anywhere_says_what_happened_up_to_there(
    history: list[Session], data: st.DataObject
) -> None:
    events = written(history)
    whole = lines(Begun(), *events)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    reading = read(cut, FILE, PICTURES.__getitem__)
    happened = max(0, cut.count(b"\n") - 1)
    assert reading.session == reduce(after, events[:happened], Session())
    assert reading.size == cut.rfind(b"\n") + 1


def test_a_reading_knows_when_and_which_pictures() -> None:
    reading = read(lines(Begun(), *changes(Session(), ASKED)), FILE, None)
    assert (reading.begun, reading.ended) == (TIME, TIME)
    assert reading.shown == {RED.digest}
    assert not reading.was_answered
    assert reading.session.unanswered == Question("What is this?"), "pictures were left alone"


def line(**said: Any) -> bytes:
    return json.dumps({"time": TIME.isoformat(), **said}).encode() + b"\n"


SET = json.loads(lines(SamplingSet(SAMPLING)))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"\n", "it is not JSON"),
        (b"{" * 100_000 + b"\n", "it is not JSON"),
        (b"\xff\n", "it is not JSON"),
        (b'{"event": "asked", "te\n', "it is not JSON"),
        (b"[1]\n", "it is not a JSON object"),
        (line(event="sung"), "its event is 'sung', which is none that version 1 has"),
        (line(event=["asked"]), r"its event is \['asked'\]"),
        (line(event="session", version=1), "the first line, and no other"),
        (line(event="system", text=3), "its text is 3, and must be text"),
        (line(event="system", text="", time=None), "its time is None"),
        (line(event="system", text="", time="noon"), "its time is 'noon'"),
        (line(event="asked", text="a", pictures=["../../secret"]), "must be a list of sha256"),
        (line(event="asked", text="a"), "must be a list of sha256"),
        (line(event="answered", index=-1, text="a"), "its index is -1"),
        (line(event="answered", index=True, text="a"), "its index is True"),
        (line(event="answered", index=0, text="a"), "it answers what was not asked"),
        (line(event="answered", index=0, text="a", tokens=1.5), "its tokens is 1.5"),
        (line(event="shortened", length=1), "it tells of exchange 1, and there are 0"),
        (line(event="sampling"), "its temperature is missing"),
        (line(**{**SET, "temperature": 3}), "its settings cannot be: temperature is 3"),
        (line(**{**SET, "temperature": "hot"}), "its settings cannot be"),
        (line(**{**SET, "stop": None}), "its settings cannot be"),
        (line(**{**SET, "seed": 1.5}), "its seed is 1.5, and must be a whole number"),
    ],
)
def test_a_damaged_line_is_named(bad: bytes, reason: str) -> None:
    for behind in (b"", line(event="withdrawn")):
        with pytest.raises(SessionDamaged, match=f"a.jsonl, line 2: .*{reason}"):
            read(lines(Begun()) + bad + behind, FILE, PICTURES.__getitem__)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (line(event="session", version=2), "it is of version 2, and this program reads 1"),
        (line(event="withdrawn"), "the first line, and no other, says"),
    ],
)
def test_another_kind_of_file_is_not_read(first: bytes, reason: str) -> None:
    with pytest.raises(SessionDamaged, match=f"line 1: {reason}"):
        read(first, FILE, None)


def test_a_title_is_how_it_begins() -> None:
    assert Session().title == ""
    assert replace(ASKED, unanswered=Question(" Why\n  so? ")).title == "Why so?"
    assert ANSWERED.title == "What is this?"
