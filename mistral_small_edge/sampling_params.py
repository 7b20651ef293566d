"""How the next token is chosen: one frozen, validated value.

Ranges and meanings are OpenAI's where OpenAI has the parameter, llama.cpp's otherwise. A value
that exists is a value that will be honoured: every check is made here, at construction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """One request's sampling.

    Attributes:
        temperature: 0..2; 0 takes the likeliest token, always the same.
        top_p: (0, 1]; the smallest set of tokens whose probabilities reach it.
        top_k: the k likeliest tokens; 0 is off.
        min_p: 0..1; drops tokens below this share of the likeliest one's probability.
        frequency_penalty: -2..2; subtracted from a token's logit once per earlier occurrence in
            the answer.
        presence_penalty: -2..2; subtracted once if the token occurred in the answer at all.
        repeat_penalty: 0.01..10, 1 is off; divides the logits of the last 64 tokens, prompt included
            (llama.cpp's).
        logit_bias: token id -> -100..100, added to its logit.
        seed: same seed, same prompt, same build: same answer. None draws one.
        stop: up to 4 strings that end the answer; none of them is part of it.
        max_tokens: tokens the answer may have; None means what the context holds.
        top_logprobs: None for no log probabilities, else how many alternatives (0..20) beside
            the chosen token's own.
        prompt_logprobs: the same for the prompt's own tokens, in place of reusing what is computed.
        ignore_eos: go on after the model has said that it is done (benchmarks).
    """

    temperature: float = 0.15
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        _in_range("temperature", self.temperature, 0, 2)
        _in_range("top_p", self.top_p, 0, 1)
        if self.top_p == 0:
            raise InvalidRequest("top_p is 0; it must be above 0 and at most 1", "top_p")
        _in_range("top_k", self.top_k, 0, 2**31 - 1)
        _in_range("min_p", self.min_p, 0, 1)
        _in_range("frequency_penalty", self.frequency_penalty, -2, 2)
        _in_range("presence_penalty", self.presence_penalty, -2, 2)
        _in_range("repeat_penalty", self.repeat_penalty, 0.01, 10)
        for bias in self.logit_bias.values():
            _in_range("logit_bias", bias, -100, 100)
        if self.seed is not None:
            _in_range("seed", self.seed, -(2**63), 2**64 - 1)
        if self.max_tokens is not None:
            _in_range("max_tokens", self.max_tokens, 1, 2**31 - 1)
        if self.top_logprobs is not None:
            _in_range("top_logprobs", self.top_logprobs, 0, MAX_TOP_LOGPROBS)
        if self.prompt_logprobs is not None:
            _in_range("prompt_logprobs", self.prompt_logprobs, 0, MAX_TOP_LOGPROBS)
        _check_stop(self.stop)

    @property
    def repeatable(self) -> bool:
        """Whether the caller was promised the same answer next time."""
        return self.temperature == 0 or self.seed is not None


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # nor is NaN between any two numbers
        raise InvalidRequest(f"{name} is {value}; it must lie between {low} and {high}", name)


def _check_stop(stop: tuple[str, ...]) -> None:
    if len(stop) > MAX_STOPS:
        raise InvalidRequest(f"stop has {len(stop)} strings; at most {MAX_STOPS} are kept", "stop")
    if not all(stop):
        raise InvalidRequest("stop holds an empty string, which would end every answer", "stop")
    try:
        "".join(stop).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("stop holds what is not valid Unicode", "stop") from None
