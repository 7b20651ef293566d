"""What comes back: the pieces of an answer, and the answer they add up to.

`LLM.stream` yields Progress and ImageProgress while the prompt is read, TextDelta and ToolCallDelta as the answer
grows, and exactly one Finish. A whole answer is the fold of its deltas (`collect`), so nothing can differ between
streaming and not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from mistral_small_edge.chat.messages import Message
from mistral_small_edge.chat.tools import ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterable

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Prompt tokens that are in the KV cache, of all; `cached` of them were there before."""

    processed: int
    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class ImageProgress:
    """How much of the conversation's picture `number` (from 1, of `total`) has been looked at.

    `done` goes up to 1; a picture that was looked at before is not told of.
    """

    number: int
    total: int
    done: float


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have been chosen, with its natural-log probability."""

    token: str
    token_bytes: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob(Alternative):
    """The token that was chosen, and the likeliest ones, best first."""

    top: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class PromptLogprobs:
    """The prompt's next tokens with their log probabilities; its first one has none."""

    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer; `logprobs` has its tokens if they were asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the call at `index`: first its id and name, once, then its arguments in pieces."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; `cached_tokens` of the prompt were reused, not computed.

    `drafted_tokens` were guessed ahead; `accepted_tokens` of them were right, and are of the answer.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds: waiting for a slot, reading the prompt, writing the answer.

    `image_seconds` of `prompt_seconds` went to looking at pictures.
    """

    queue_seconds: float
    prompt_seconds: float
    decode_seconds: float
    image_seconds: float = 0.0

    @property
    def time_to_first_token(self) -> float:
        """Seconds from the request's arrival to its first token (TTFT)."""
        return self.queue_seconds + self.prompt_seconds


@dataclass(frozen=True, slots=True)
class Finish:
    """The end, once: why, and what it took."""

    reason: FinishReason
    usage: Usage
    timings: Timings


Delta = Progress | ImageProgress | PromptLogprobs | TextDelta | ToolCallDelta | Finish


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """A whole answer.

    `earlier` has the messages that came between the question and this answer: the calls that
    were run on the way, and their results.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    earlier: tuple[Message, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()

    @property
    def message(self) -> Message:
        """The answer as a turn, to continue the conversation with."""
        return Message("assistant", self.text, self.tool_calls)


def collect(deltas: Iterable[Delta]) -> ChatResponse:
    """Fold a stream into the answer it spells.

    Raises:
        ValueError: the stream ended without Finish, which no stream of ours does.
    """
    text: list[str] = []
    logprobs: list[TokenLogprob] = []
    calls: list[ToolCall] = []
    prompt: list[TokenLogprob] = []
    for delta in deltas:
        match delta:
            case TextDelta():
                text.append(delta.text)
                logprobs.extend(delta.logprobs)
            case ToolCallDelta():
                _add(delta, calls)
            case PromptLogprobs():
                prompt.extend(delta.tokens)
            case Finish():
                return ChatResponse(
                    "".join(text),
                    delta.reason,
                    delta.usage,
                    delta.timings,
                    tuple(logprobs),
                    tuple(calls),
                    prompt_logprobs=tuple(prompt),
                )
            case Progress() | ImageProgress():
                pass
    raise ValueError("the stream ended without Finish")


def _add(delta: ToolCallDelta, calls: list[ToolCall]) -> None:
    if delta.index == len(calls):
        calls.append(ToolCall(delta.id, delta.name, delta.arguments))
    else:
        call = calls[delta.index]
        calls[delta.index] = replace(call, arguments=call.arguments + delta.arguments)
