"""Deltas that the server spells are read as the same deltas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.chat.deltas import (
    Alternative,
    Delta,
    Finish,
    ImageProgress,
    Progress,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from mistral_small_edge.errors import EngineOverloaded
from mistral_small_edge.llm.remote.events import EventReader
from mistral_small_edge.server.errors import error_object
from mistral_small_edge.server.wire_answer import Head
from mistral_small_edge.server.wire_chat import ChatShape
from mistral_small_edge.server.wire_text import TextShape

if TYPE_CHECKING:
    from mistral_small_edge.server.asked import Shape

URL = "http://127.0.0.1:1"
HEAD = Head.new("chatcmpl", "any", "fp_1")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
counts = st.integers(0, 10_000)
scores = st.floats(max_value=0, allow_nan=False)
seconds = st.floats(0, 1e6)
alternatives = st.builds(Alternative, texts, st.binary(max_size=4), scores)
tokens = st.builds(
    TokenLogprob,
    texts,
    st.binary(max_size=4),
    scores,
    st.lists(alternatives, max_size=2).map(tuple),
)
progress = st.builds(Progress, counts, counts, counts) | st.builds(
    ImageProgress, counts, counts, st.floats(0, 1)
)
calls = st.builds(ToolCallDelta, counts, texts, texts.filter(bool), texts) | st.builds(
    ToolCallDelta, counts, arguments=texts
)
ends = st.builds(
    Finish,
    st.sampled_from(["stop", "length", "tool_calls"]),
    st.builds(Usage, counts, counts, counts, counts, counts),
    st.builds(Timings, seconds, seconds, seconds, seconds),
)
told = st.builds(TextDelta, texts, st.lists(tokens, max_size=2).map(tuple))


def there_and_back(shape: Shape, deltas: list[Delta], end: Finish) -> list[Delta]:
    objects = [*shape.begin(1), *(shape.piece(0, one) for one in [*deltas, end]), shape.end([end])]
    reader = EventReader(URL)
    events = json.loads(json.dumps(objects))
    return [delta for event in events for delta in reader.deltas(event)]


@settings(deadline=None)
@given(st.lists(progress | told | calls, max_size=5), ends)
def test_a_conversations_deltas_come_back(deltas: list[Delta], end: Finish) -> None:
    shape = ChatShape(HEAD, logprobs=True, include_usage=True, include_progress=True)
    assert there_and_back(shape, deltas, end) == [*deltas, end]


@settings(deadline=None)
@given(st.lists(progress | st.builds(TextDelta, texts), max_size=5), ends)
def test_a_texts_deltas_come_back(deltas: list[Delta], end: Finish) -> None:
    shape = TextShape(HEAD, False, True, (), False, str, include_progress=True)
    assert there_and_back(shape, deltas, end) == [*deltas, end]


def test_an_error_is_raised() -> None:
    event = json.loads(json.dumps(error_object(EngineOverloaded(3, 4))))
    with pytest.raises(EngineOverloaded):
        list(EventReader(URL).deltas(event))


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"choices": [{"finish_reason": "bored"}]},
        {"choices": [{"finish_reason": None}]},
        {"choices": [{"finish_reason": None, "delta": 7}]},
        {"choices": [], "usage": {"prompt_tokens": 1}},
    ],
)
def test_what_the_server_does_not_send_is_no_delta(event: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        list(EventReader(URL).deltas(event))
