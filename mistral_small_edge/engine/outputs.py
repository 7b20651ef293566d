"""What a sequence yields while it runs: frozen values, read by any thread.

Progress while the prompt is computed and its pictures are looked at, text as the answer grows, and
exactly one end: Finished or Failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_small_edge.errors import EdgeError


class FinishReason(Enum):
    """Why an answer ended by itself."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class PromptProgress:
    """Prompt rows computed, of `total`; `cached` of them were there before."""

    processed: int
    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class PictureProgress:
    """How much of the prompt's picture `number` (the first is 1) has been looked at, 0 to 1."""

    number: int
    total: int
    done: float


@dataclass(frozen=True, slots=True)
class ScoredPiece:
    """A token's bytes, and the natural log of its probability before any sampling setting."""

    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of the answer, and the likeliest ones at its place, best first."""

    chosen: ScoredPiece
    top: tuple[ScoredPiece, ...]


@dataclass(frozen=True, slots=True)
class PromptScores:
    """Scores of the prompt's next tokens, in order; its first one has none."""

    scored: tuple[ScoredToken, ...]


@dataclass(frozen=True, slots=True)
class TextOutput:
    """Whole characters, never part of a stop string; the tokens they came from if scored."""

    text: str
    scored: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlOutput:
    """A control token that the model wrote, other than the one that ends its answer; its scores, if asked for."""

    token: int
    scored: ScoredToken | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer; times in seconds. `image_seconds` of `prompt_seconds` went to looking.

    `drafted_tokens` were guessed; so many of them were right and took no step of their own.
    """

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float
    prompt_seconds: float
    image_seconds: float
    decode_seconds: float
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of a request that could not be computed."""

    error: EdgeError


Output = (
    PromptProgress | PictureProgress | PromptScores | TextOutput | ControlOutput | Finished | Failed
)
