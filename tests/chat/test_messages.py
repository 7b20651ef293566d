"""Requests that cannot be honoured are refused where they are made, by field."""

from __future__ import annotations

import pytest

from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.errors import InvalidRequest


@pytest.mark.parametrize(
    ("role", "content", "param"),
    [
        ("tool", "x", "messages.tool_call_id"),
        ("User", "x", "messages.role"),
        ("user", "\ud800", "messages.content"),
    ],
)
def test_bad_messages(role: str, content: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Message(role, content)  # type: ignore[arg-type]
    assert caught.value.param == param


def test_a_request_needs_a_message() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ChatRequest(())
    assert caught.value.param == "messages"
