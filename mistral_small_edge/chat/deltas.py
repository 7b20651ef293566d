"""What comes back: the pieces of an answer, and the answer they add up to.

`LLM.stream` yields Progress while the prompt is read, TextDelta as the answer grows, and exactly
one Finish. A whole answer is the fold of its deltas (`collect`), so nothing can differ between
streaming and not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Prompt tokens that are in the KV cache, of all; `cached` of them were there before."""

    processed: int
    total: int
    cached: int


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
class TextDelta:
    """More of the answer; `logprobs` has its tokens if they were asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; `cached_tokens` of the prompt were reused, not computed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds: waiting for a slot, reading the prompt, writing the answer."""

    queue_seconds: float
    prompt_seconds: float
    decode_seconds: float

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


Delta = Progress | TextDelta | Finish


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """A whole answer."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    logprobs: tuple[TokenLogprob, ...] = ()


def collect(deltas: Iterable[Delta]) -> ChatResponse:
    """Fold a stream into the answer it spells.

    Raises:
        ValueError: the stream ended without Finish, which no stream of ours does.
    """
    text: list[str] = []
    logprobs: list[TokenLogprob] = []
    for delta in deltas:
        match delta:
            case TextDelta():
                text.append(delta.text)
                logprobs.extend(delta.logprobs)
            case Finish():
                return ChatResponse(
                    "".join(text), delta.reason, delta.usage, delta.timings, tuple(logprobs)
                )
            case Progress():
                pass
    raise ValueError("the stream ended without Finish")
