"""Answers as OpenAI spells them: whole, and as the chunks of a stream."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from mistral_small_edge.chat.deltas import (
    Finish,
    ImageProgress,
    Progress,
    TextDelta,
    ToolCallDelta,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mistral_small_edge.chat.deltas import ChatResponse, Timings, TokenLogprob, Usage
    from mistral_small_edge.chat.tools import ToolCall

JSONObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Head:
    """What every object of one answer repeats."""

    id: str
    created: int
    model: str
    fingerprint: str

    @classmethod
    def new(cls, prefix: str, model: str, fingerprint: str) -> Self:
        """A head with an id of its own."""
        return cls(f"{prefix}-{uuid.uuid4().hex}", int(time.time()), model, fingerprint)

    def frame(self, kind: str) -> JSONObject:
        """An object of that kind, without its choices."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def completion(self, responses: Sequence[ChatResponse], logprobs: bool) -> JSONObject:
        """The whole answer: a choice for each response."""
        return self.frame("chat.completion") | {
            "choices": [choice_object(*each, logprobs=logprobs) for each in enumerate(responses)],
            "usage": usage_object([response.usage for response in responses]),
            "timings": timings_object(
                [(response.usage, response.timings) for response in responses]
            ),
        }

    def chunk(
        self, index: int, delta: JSONObject, *, finish: str | None = None, logprobs: object = None
    ) -> JSONObject:
        """A piece of choice number `index`."""
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self.frame("chat.completion.chunk") | {"choices": [choice]}

    def progress_chunk(self, choice: int, delta: Progress | ImageProgress) -> JSONObject:
        """What is told before there is an answer, if it was asked for."""
        frame = self.frame("chat.completion.chunk") | {"choices": []}
        return frame | progress_object(choice, delta)

    def last_chunk(self, ends: Sequence[Finish]) -> JSONObject:
        """What a stream ends with if usage was asked for: no choice, the tokens of all."""
        return self.frame("chat.completion.chunk") | {
            "choices": [],
            "usage": usage_object([end.usage for end in ends]),
            "timings": timings_object([(end.usage, end.timings) for end in ends]),
        }


def progress_object(choice: int, delta: Progress | ImageProgress) -> JSONObject:
    """What a chunk without choices tells of a prompt that is being read."""
    if isinstance(delta, Progress):
        read = {"processed": delta.processed, "total": delta.total, "cached": delta.cached}
        return {"prompt_progress": {"index": choice, **read}}
    looked = {"number": delta.number, "total": delta.total, "done": delta.done}
    return {"image_progress": {"index": choice, **looked}}


def delta_object(delta: TextDelta | ToolCallDelta) -> JSONObject:
    """The `delta` of a chunk."""
    if isinstance(delta, TextDelta):
        return {"content": delta.text}
    function: JSONObject = {"arguments": delta.arguments}
    call: JSONObject = {"index": delta.index, "function": function}
    if delta.name:  # the first piece of a call
        function["name"] = delta.name
        call |= {"id": delta.id, "type": "function"}
    return {"tool_calls": [call]}


def choice_object(index: int, response: ChatResponse, *, logprobs: bool = False) -> JSONObject:
    """One choice of a whole answer."""
    return {
        "index": index,
        "message": message_object(response),
        "logprobs": logprobs_object(response.logprobs) if logprobs else None,
        "finish_reason": response.finish_reason,
    }


def message_object(response: ChatResponse) -> JSONObject:
    """The assistant's message; content is null where there are calls and nothing else."""
    message: JSONObject = {
        "role": "assistant",
        "content": response.text if response.text or not response.tool_calls else None,
        "refusal": None,
    }
    if response.tool_calls:
        message["tool_calls"] = [call_object(call) for call in response.tool_calls]
    return message


def call_object(call: ToolCall) -> JSONObject:
    """One call of a message."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def logprobs_object(tokens: Iterable[TokenLogprob]) -> JSONObject:
    """Log probabilities, the tokens' own and the likeliest ones'."""
    content = [
        {
            "token": one.token,
            "logprob": one.logprob,
            "bytes": list(one.token_bytes),
            "top_logprobs": [
                {
                    "token": other.token,
                    "logprob": other.logprob,
                    "bytes": list(other.token_bytes),
                }
                for other in one.top
            ],
        }
        for one in tokens
    ]
    return {"content": content, "refusal": None}


def usage_object(usages: Sequence[Usage]) -> JSONObject:
    """Tokens: the prompt once, the answers together."""
    prompt = usages[0].prompt_tokens
    completion = sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": max(usage.cached_tokens for usage in usages)},
    }


def timings_object(answers: Sequence[tuple[Usage, Timings]]) -> JSONObject:
    """Seconds to the first token, and rates in tokens a second, of the first answer."""
    usage, timings = answers[0]
    read, written = usage.prompt_tokens - usage.cached_tokens, usage.completion_tokens - 1
    return {
        "queue_seconds": timings.queue_seconds,
        "time_to_first_token_seconds": timings.time_to_first_token,
        "prompt_seconds": timings.prompt_seconds,
        "decode_seconds": timings.decode_seconds,
        "image_seconds": timings.image_seconds,
        "prompt_tokens_per_second": _rate(read, timings.prompt_seconds - timings.image_seconds),
        "decode_tokens_per_second": _rate(written, timings.decode_seconds),
        "drafted_tokens": usage.drafted_tokens,
        "accepted_tokens": usage.accepted_tokens,
    }


def _rate(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if seconds > 0 and tokens > 0 else None
