"""Sampling as JSON carries it, in every kind of completion, and what it is to `sampling_params`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.server.fields import Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_small_edge.sampling_params import SamplingParams


class StreamOptions(Wire):
    """What a stream carries besides text; how the prompt is being read is not in OpenAI's."""

    include_usage: bool | None = None
    include_progress: bool | None = None


class WireSampling(Wire):
    """Fields that every kind of completion has."""

    model: str
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    n: int | None = Field(default=None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    def sampling(self, defaults: SamplingParams, **more: Any) -> SamplingParams:
        """`defaults` with what was given in their place; so for `more`, in our own names.

        Raises:
            InvalidRequest: a value out of its range.
        """
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options needs stream: true", "stream_options")
        given: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "repeat_penalty": self.repeat_penalty,
            "seed": self.seed,
            "stop": (self.stop,) if isinstance(self.stop, str) else self.stop,
            "logit_bias": None if self.logit_bias is None else _logit_bias(self.logit_bias),
            **more,
        }
        found = {name: value for name, value in given.items() if value is not None}
        if "stop" in found:
            found["stop"] = tuple(found["stop"])
        return replace(defaults, **found)

    def seeds(self, sampling: SamplingParams, slots: int) -> list[SamplingParams]:
        """One for each of `n` choices: seeds follow each other, so that they differ and repeat.

        Raises:
            InvalidRequest: there are more choices than slots.
        """
        count = self.n or 1
        if count > slots:
            raise InvalidRequest(f"n is {count}, and there are {slots} slots", "n")
        if sampling.seed is None:
            return [sampling] * count
        return [replace(sampling, seed=sampling.seed + choice) for choice in range(count)]

    @property
    def include_usage(self) -> bool:
        """Whether a stream is to end with the tokens it took."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def include_progress(self) -> bool:
        """Whether a stream is to tell how much of the prompt has been read."""
        return bool(self.stream_options and self.stream_options.include_progress)


def sampling_object(params: SamplingParams) -> dict[str, object]:
    """What holds where a request says nothing, in the fields that a request has."""
    return {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "min_p": params.min_p,
        "max_tokens": params.max_tokens,
        "stop": list(params.stop),
        "seed": params.seed,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        "repeat_penalty": params.repeat_penalty,
        "logit_bias": {str(token): bias for token, bias in params.logit_bias.items()},
    }


def _logit_bias(biases: Mapping[str, float]) -> dict[int, float]:
    try:
        return {int(token): bias for token, bias in biases.items()}
    except ValueError:
        raise InvalidRequest("logit_bias has a key that is no token id", "logit_bias") from None
