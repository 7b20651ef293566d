"""Events of a streamed answer as chat's deltas: the way back from the server's shapes.

Knows objects and no connection. What is not as the server sends it raises as Python does; who reads the
connection makes one error of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from mistral_small_edge.chat.deltas import (
    Alternative,
    Finish,
    FinishReason,
    ImageProgress,
    Progress,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from mistral_small_edge.llm.remote.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.chat.deltas import Delta

Event = dict[str, Any]
# What makes the stream tell all that the deltas have.
STREAMED: dict[str, object] = {
    "stream": True,
    "stream_options": {"include_usage": True, "include_progress": True},
}


class EventReader:
    """Reads the events of one answer, of a conversation or of a text."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._reason: FinishReason | None = None

    def deltas(self, event: Event) -> Iterator[Delta]:
        """What an event tells; the last one becomes Finish.

        Raises:
            EdgeError: it tells of one.
            KeyError, TypeError, ValueError, AttributeError: it is none of the server's.
        """
        if error := event.get("error"):
            raise refusal(self._url, error)
        if progress := event.get("prompt_progress"):
            yield Progress(progress["processed"], progress["total"], progress["cached"])
        if progress := event.get("image_progress"):
            yield ImageProgress(progress["number"], progress["total"], progress["done"])
        for choice in event["choices"]:
            if choice["finish_reason"] is None:
                yield from _pieces(choice)
            else:
                self._reason = _reason(choice["finish_reason"])
        if usage := event.get("usage"):
            yield _finish(_reason(self._reason), usage, event["timings"])


def _reason(told: object) -> FinishReason:
    for reason in get_args(FinishReason):
        if told == reason:
            found: FinishReason = reason
            return found
    raise ValueError(f"{told!r} is no reason to end")


def _pieces(choice: Event) -> Iterator[Delta]:
    if "text" in choice:
        yield TextDelta(choice["text"])
        return
    delta = choice["delta"]
    if "role" in delta:  # whose turn it is: nothing has been said
        return
    if "content" in delta:
        yield TextDelta(delta["content"], _logprobs(choice["logprobs"]))
    for call in delta.get("tool_calls", ()):
        function = call["function"]
        yield ToolCallDelta(
            call["index"], call.get("id", ""), function.get("name", ""), function["arguments"]
        )


def _logprobs(told: Event | None) -> tuple[TokenLogprob, ...]:
    if told is None:
        return ()
    return tuple(
        TokenLogprob(
            one["token"],
            bytes(one["bytes"]),
            one["logprob"],
            tuple(
                Alternative(other["token"], bytes(other["bytes"]), other["logprob"])
                for other in one["top_logprobs"]
            ),
        )
        for one in told["content"]
    )


def _finish(reason: FinishReason, usage: Event, timings: Event) -> Finish:
    return Finish(
        reason,
        Usage(
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            timings["drafted_tokens"],
            timings["accepted_tokens"],
        ),
        Timings(
            timings["queue_seconds"],
            timings["prompt_seconds"],
            timings["decode_seconds"],
            timings["image_seconds"],
        ),
    )
