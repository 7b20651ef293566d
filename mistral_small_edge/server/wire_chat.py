"""A chat completion's request as JSON carries it, and what it is to `chat`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mistral_small_edge.chat.messages import ChatRequest
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.server.fields import Wire
from mistral_small_edge.server.wire_messages import (
    WireFormat,
    WireMessage,
    WireTool,
    WireToolChoice,
    response_format,
    tool_choice,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_small_edge.sampling_params import SamplingParams

MAX_MESSAGES = 10_000
MAX_TOOLS = 256


class StreamOptions(Wire):
    """What a stream carries besides text."""

    include_usage: bool | None = None


class ChatCompletionRequest(Wire):
    """`POST /v1/chat/completions`: OpenAI's fields, Mistral's, and llama.cpp's samplers."""

    model: str
    messages: list[WireMessage] = Field(max_length=MAX_MESSAGES)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = Field(default=None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: WireFormat | None = None
    tools: list[WireTool] | None = Field(default=None, max_length=MAX_TOOLS)
    tool_choice: WireToolChoice | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked of the LLM: one request for each choice."""

    requests: tuple[ChatRequest, ...]
    stream: bool
    include_usage: bool
    logprobs: bool


def answers(wire: ChatCompletionRequest, defaults: SamplingParams, slots: int) -> Answers:
    """What a request asks for; `defaults` are the model's own.

    Raises:
        InvalidRequest: a value that cannot be honoured; `param` names its field.
    """
    if wire.stream_options is not None and not wire.stream:
        raise InvalidRequest("stream_options needs stream: true", "stream_options")
    if wire.n is not None and wire.n > slots:
        raise InvalidRequest(f"n is {wire.n}; this server has {slots} slots", "n")
    if not wire.messages:
        raise InvalidRequest("messages is empty; at least one is needed", "messages")
    sampling = _sampling(wire, defaults)
    request = ChatRequest(
        tuple(message.value() for message in wire.messages),
        sampling,
        tuple(tool.value() for tool in wire.tools or ()),
        tool_choice(wire.tool_choice),
        wire.parallel_tool_calls is not False,
        response_format(wire.response_format),
    )
    return Answers(
        tuple(_choices(request, sampling, wire.n or 1)),
        bool(wire.stream),
        bool(wire.stream_options and wire.stream_options.include_usage),
        bool(wire.logprobs),
    )


def _choices(request: ChatRequest, sampling: SamplingParams, count: int) -> list[ChatRequest]:
    """The same request `count` times; seeds follow each other, so that choices differ and repeat."""
    if sampling.seed is None:
        return [request] * count
    seeds = range(sampling.seed, sampling.seed + count)
    return [replace(request, sampling=replace(sampling, seed=seed)) for seed in seeds]


def _sampling(wire: ChatCompletionRequest, defaults: SamplingParams) -> SamplingParams:
    given: dict[str, Any] = {
        "temperature": wire.temperature,
        "top_p": wire.top_p,
        "top_k": wire.top_k,
        "min_p": wire.min_p,
        "frequency_penalty": wire.frequency_penalty,
        "presence_penalty": wire.presence_penalty,
        "repeat_penalty": wire.repeat_penalty,
        "seed": wire.seed,
        "max_tokens": _max_tokens(wire),
        "stop": None if wire.stop is None else _stop(wire.stop),
        "logit_bias": None if wire.logit_bias is None else _logit_bias(wire.logit_bias),
        "top_logprobs": _top_logprobs(wire),
    }
    return replace(defaults, **{name: value for name, value in given.items() if value is not None})


def _max_tokens(wire: ChatCompletionRequest) -> int | None:
    newer, older = wire.max_completion_tokens, wire.max_tokens
    if newer is not None and older is not None and newer != older:
        raise InvalidRequest(
            f"max_completion_tokens is {newer} and max_tokens, its older name, is {older}",
            "max_tokens",
        )
    return older if newer is None else newer


def _stop(stop: str | list[str]) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _logit_bias(biases: Mapping[str, float]) -> dict[int, float]:
    try:
        return {int(token): bias for token, bias in biases.items()}
    except ValueError:
        raise InvalidRequest("logit_bias has a key that is no token id", "logit_bias") from None


def _top_logprobs(wire: ChatCompletionRequest) -> int | None:
    if wire.top_logprobs is not None and not wire.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true", "top_logprobs")
    return (wire.top_logprobs or 0) if wire.logprobs else None
