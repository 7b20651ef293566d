"""A text completion as JSON carries it, asked and answered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import Field

from mistral_small_edge.chat.deltas import (
    Delta,
    Finish,
    ImageProgress,
    Progress,
    TextDelta,
    TokenLogprob,
    collect,
)
from mistral_small_edge.chat.messages import TextRequest
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sampling_params import MAX_TOP_LOGPROBS
from mistral_small_edge.server.wire_answer import Head, JSONObject, timings_object, usage_object
from mistral_small_edge.server.wire_sampling import WireSampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mistral_small_edge.chat.deltas import ChatResponse
    from mistral_small_edge.sampling_params import SamplingParams

DEFAULT_MAX_TOKENS = 16  # OpenAI's
MAX_PROMPTS = 128


class CompletionRequest(WireSampling):
    """`POST /v1/completions`: text to be gone on with, or the ids of it."""

    prompt: str | list[str] | list[int] | list[list[int]] = Field(union_mode="left_to_right")
    logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP_LOGPROBS)
    echo: bool | None = None
    suffix: None = None

    def requests(self, defaults: SamplingParams, slots: int) -> list[TextRequest]:
        """One for each prompt and choice, in OpenAI's order.

        Raises:
            InvalidRequest: a value that cannot be honoured; `param` names its field.
        """
        if self.echo and self.stream:
            raise InvalidRequest("echo gives the prompt back whole: not in a stream", "echo")
        if self.max_tokens == 0 and not self.echo:
            raise InvalidRequest("max_tokens is 0, which needs echo: true", "max_tokens")
        sampling = self.sampling(
            defaults,
            max_tokens=DEFAULT_MAX_TOKENS if self.max_tokens is None else max(1, self.max_tokens),
            top_logprobs=self.logprobs,
            prompt_logprobs=self.logprobs if self.echo else None,
        )
        return [
            TextRequest(prompt, seeded)
            for prompt in self._prompts()
            for seeded in self.seeds(sampling, slots)
        ]

    def _prompts(self) -> list[str | tuple[int, ...]]:
        given = self.prompt
        if isinstance(given, str):
            return [given]
        ids = [one for one in given if isinstance(one, int)]
        if ids:
            return [tuple(ids)]
        if not 0 < len(given) <= MAX_PROMPTS or [] in given:
            raise InvalidRequest(
                f"prompt has {len(given)} parts; 1 to {MAX_PROMPTS} are taken, none of them empty",
                "prompt",
            )
        return [
            one if isinstance(one, str) else tuple(one) for one in given if not isinstance(one, int)
        ]


@dataclass(frozen=True, slots=True)
class TextShape:
    """OpenAI's text_completion, whole and in pieces.

    Args:
        prompts: ids of each choice's prompt, where they are to be given back.
        empty: nothing was to be written: the one token that had to be is left out.
        decode: ids to text.
    """

    head: Head
    logprobs: bool
    include_usage: bool
    prompts: Sequence[tuple[int, ...]]
    empty: bool
    decode: Callable[[Sequence[int]], str]
    include_progress: bool = False

    def whole(self, deltas: Sequence[Sequence[Delta]]) -> JSONObject:
        """The text_completion."""
        responses = [self._without_text(collect(some)) for some in deltas]
        usage = usage_object([response.usage for response in responses])
        return self.head.frame("text_completion") | {
            "choices": [self._choice(*each) for each in enumerate(responses)],
            "usage": usage,
            "timings": timings_object([(one.usage, one.timings) for one in responses]),
        }

    def begin(self, choices: int) -> Iterable[JSONObject]:  # noqa: ARG002 - as in every shape
        """Nothing: a text has no role."""
        return ()

    def piece(self, choice: int, delta: Delta) -> JSONObject | None:
        """Text, or an end."""
        match delta:
            case TextDelta():
                scores = _scores(delta.logprobs, None) if self.logprobs else None
                return self._piece(choice, delta.text, scores, None)
            case Finish():
                return self._piece(choice, "", None, delta.reason)
            case Progress() | ImageProgress() if self.include_progress:
                chunk = self.head.progress_chunk(choice, delta)
                return chunk | {"object": "text_completion"}
        return None

    def end(self, ends: Sequence[Finish]) -> JSONObject | None:
        """The usage, if it was asked for."""
        if not self.include_usage:
            return None
        return self.head.last_chunk(ends) | {"object": "text_completion"}

    def _piece(self, choice: int, text: str, scores: object, finish: str | None) -> JSONObject:
        one = {"index": choice, "text": text, "logprobs": scores, "finish_reason": finish}
        piece = self.head.frame("text_completion") | {"choices": [one]}
        return piece | {"usage": None} if self.include_usage else piece

    def _without_text(self, response: ChatResponse) -> ChatResponse:
        if not self.empty:
            return response
        usage = replace(response.usage, completion_tokens=0)
        return replace(response, text="", logprobs=(), usage=usage)

    def _choice(self, index: int, response: ChatResponse) -> JSONObject:
        before = self.decode(self.prompts[index]) if self.prompts else ""
        scores = None
        if self.logprobs:
            first = self.decode(self.prompts[index][:1]) if self.prompts else None
            scores = _scores((*response.prompt_logprobs, *response.logprobs), first)
        return {
            "index": index,
            "text": before + response.text,
            "logprobs": scores,
            "finish_reason": response.finish_reason,
        }


def _scores(tokens: Sequence[TokenLogprob], first: str | None) -> JSONObject:
    """Four lists side by side; `first` is the token that nothing came before, and has no score."""
    spelt = [one.token for one in tokens]
    found: list[float | None] = [one.logprob for one in tokens]
    top: list[dict[str, float] | None] = [
        {other.token: other.logprob for other in (*one.top, one)} for one in tokens
    ]
    if first is not None:
        spelt, found, top = [first, *spelt], [None, *found], [None, *top]
    offsets = [0]
    for token in spelt[:-1]:
        offsets.append(offsets[-1] + len(token))
    return {
        "tokens": spelt,
        "token_logprobs": found,
        "top_logprobs": top,
        "text_offset": offsets[: len(spelt)],
    }
