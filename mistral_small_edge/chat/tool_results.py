"""Every call has its result and every result its call, or the model would be told nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_small_edge.chat.messages import Message


def check_results(messages: Iterable[Message]) -> None:
    """Results may come in any order, but before the conversation goes on.

    Raises:
        InvalidRequest: a result without a call, a second one, or none; two calls with one id.
    """
    waiting: dict[str, str] = {}  # id -> name, of calls without a result yet
    answered: set[str] = set()  # ids of the latest calls that have one
    for index, message in enumerate(messages):
        if message.role == "tool":
            _take_result(index, message.tool_call_id or "", waiting, answered)
            continue
        _refuse_waiting(waiting)
        answered.clear()
        for call in message.tool_calls:
            if call.id in waiting:
                raise InvalidRequest(
                    f"message {index} makes two calls with the id {call.id!r}",
                    "messages.tool_calls.id",
                )
            waiting[call.id] = call.name
    _refuse_waiting(waiting)


def _take_result(index: int, id_: str, waiting: dict[str, str], answered: set[str]) -> None:
    if id_ not in waiting:
        wrong = "a second time" if id_ in answered else "and nothing called with that id before it"
        raise InvalidRequest(
            f"message {index} is a result of call {id_!r}, {wrong}", "messages.tool_call_id"
        )
    del waiting[id_]
    answered.add(id_)


def _refuse_waiting(waiting: dict[str, str]) -> None:
    for id_, name in waiting.items():
        raise InvalidRequest(
            f"the call {id_!r} of {name} has no result; a message of role tool must follow it",
            "messages",
        )
