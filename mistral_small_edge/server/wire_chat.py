"""A chat completion as JSON carries it, asked and answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from mistral_small_edge.chat.deltas import (
    Delta,
    Finish,
    ImageProgress,
    Progress,
    TextDelta,
    ToolCallDelta,
    collect,
)
from mistral_small_edge.chat.messages import ChatRequest
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.server.wire_answer import Head, JSONObject, delta_object, logprobs_object
from mistral_small_edge.server.wire_messages import (
    WireFormat,
    WireMessage,
    WireTool,
    WireToolChoice,
    response_format,
    tool_choice,
)
from mistral_small_edge.server.wire_sampling import WireSampling

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mistral_small_edge.images import Image
    from mistral_small_edge.sampling_params import SamplingParams
    from mistral_small_edge.server.wire_messages import Address

MAX_MESSAGES = 10_000
MAX_TOOLS = 256


class ChatCompletionRequest(WireSampling):
    """`POST /v1/chat/completions`: OpenAI's fields, Mistral's, and llama.cpp's samplers."""

    messages: list[WireMessage] = Field(max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: WireFormat | None = None
    tools: list[WireTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: WireToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked of the LLM: one request for each choice."""

    requests: tuple[ChatRequest, ...]
    stream: bool
    include_usage: bool
    include_progress: bool
    logprobs: bool


def answers(
    wire: ChatCompletionRequest,
    images: Mapping[Address, Image],
    defaults: SamplingParams,
    slots: int,
) -> Answers:
    """What a request asks for; `images` has its pictures, `defaults` are the model's own.

    Raises:
        InvalidRequest: a value that cannot be honoured; `param` names its field.
    """
    if not wire.messages:
        raise InvalidRequest("messages is empty; at least one is needed", "messages")
    sampling = wire.sampling(defaults, max_tokens=_max_tokens(wire), top_logprobs=_logprobs(wire))
    messages = tuple(message.value(images) for message in wire.messages)
    tools = tuple(tool.value() for tool in wire.tools or ())
    requests = (
        ChatRequest(
            messages,
            seeded,
            tools,
            tool_choice(wire.tool_choice),
            wire.parallel_tool_calls is not False,
            response_format(wire.response_format),
        )
        for seeded in wire.seeds(sampling, slots)
    )
    return Answers(
        tuple(requests),
        bool(wire.stream),
        wire.include_usage,
        wire.include_progress,
        bool(wire.logprobs),
    )


@dataclass(frozen=True, slots=True)
class ChatShape:
    """OpenAI's chat.completion, and its chunks."""

    head: Head
    logprobs: bool
    include_usage: bool
    include_progress: bool = False

    def whole(self, deltas: Sequence[Sequence[Delta]]) -> JSONObject:
        """The chat.completion."""
        return self.head.completion([collect(some) for some in deltas], self.logprobs)

    def begin(self, choices: int) -> Iterator[JSONObject]:
        """Whose turn it is."""
        for choice in range(choices):
            yield self._chunk(choice, {"role": "assistant", "content": ""})

    def piece(self, choice: int, delta: Delta) -> JSONObject | None:
        """Text, a piece of a call, or an end."""
        match delta:
            case TextDelta():
                scores = logprobs_object(delta.logprobs) if self.logprobs else None
                return self._chunk(choice, delta_object(delta), logprobs=scores)
            case ToolCallDelta():
                return self._chunk(choice, delta_object(delta))
            case Finish():
                return self._chunk(choice, {}, finish=delta.reason)
            case Progress() | ImageProgress() if self.include_progress:
                return self.head.progress_chunk(choice, delta)
        return None

    def end(self, ends: Sequence[Finish]) -> JSONObject | None:
        """The usage, if it was asked for."""
        return self.head.last_chunk(ends) if self.include_usage else None

    def _chunk(
        self, choice: int, delta: JSONObject, *, finish: str | None = None, logprobs: object = None
    ) -> JSONObject:
        chunk = self.head.chunk(choice, delta, finish=finish, logprobs=logprobs)
        return chunk | {"usage": None} if self.include_usage else chunk


def _max_tokens(wire: ChatCompletionRequest) -> int | None:
    newer, older = wire.max_completion_tokens, wire.max_tokens
    if newer is not None and older is not None and newer != older:
        raise InvalidRequest(
            f"max_completion_tokens is {newer} and max_tokens, its older name, is {older}",
            "max_tokens",
        )
    return older if newer is None else newer


def _logprobs(wire: ChatCompletionRequest) -> int | None:
    if wire.top_logprobs is not None and not wire.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true", "top_logprobs")
    return (wire.top_logprobs or 0) if wire.logprobs else None
