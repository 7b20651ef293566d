"""How fast a loaded model is here, and what our own code costs of it.

Figures come from the answers themselves (`Timings`), so they are what a caller gets. Each round
also runs a bare llama.cpp loop over the same weights with the same sampler: these machines drift,
and only a ratio of neighbours says anything about the program.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from mistral_small_edge.chat.deltas import collect
from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.chat.response_format import JsonSchema
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.llm import LLM

# A form such as people have filled in: names, free text, numbers, a list. The text is one that fits.
_FORM = JsonSchema(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "remarks": {"type": "string"},
            "kind": {"enum": ["visitor", "member", "guest"]},
            "visits": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"day": {"type": "string"}, "hours": {"type": "number"}},
                    "required": ["day", "hours"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["name", "age", "remarks", "kind", "visits"],
        "additionalProperties": False,
    }
)
_FILLED = (
    '{"name": "Ada Lovelace", "age": 36, "remarks": "Came for the engine and stayed for the tide.", '
    '"kind": "guest", "visits": [{"day": "Monday", "hours": 2.5}, {"day": "Friday", "hours": 4}]}'
)
_SENTENCE = "The tide comes in twice a day, and the harbour master writes down when. "


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is run: `rounds` times, `sentences` of prompt (some 16 tokens each), `tokens` of answer."""

    rounds: int = 5
    sentences: int = 24
    tokens: int = 128

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("sentences", 1), ("tokens", 2)):
            if getattr(self, name) < least:
                raise InvalidRequest(f"{name} must be at least {least}", name)


@dataclass(frozen=True, slots=True)
class Round:
    """One answer and its neighbour, the bare loop; rates in tokens a second."""

    prompt_tokens: int
    prompt_rate: float
    time_to_first_token: float
    decode_rate: float
    bare_decode_rate: float


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """Every round, and the medians over them.

    `mask_seconds`: what a JSON schema costs, by token. `peak_memory` in bytes, of the whole process.
    """

    model: str
    rounds: tuple[Round, ...]
    mask_seconds: tuple[float, ...]
    peak_memory: int

    @property
    def prompt_rate(self) -> float:
        """Tokens a second, reading."""
        return median(one.prompt_rate for one in self.rounds)

    @property
    def decode_rate(self) -> float:
        """Tokens a second, writing."""
        return median(one.decode_rate for one in self.rounds)

    @property
    def time_to_first_token(self) -> float:
        """Seconds."""
        return median(one.time_to_first_token for one in self.rounds)

    @property
    def mask_time(self) -> float:
        """Seconds a token, to know which tokens a JSON schema lets follow."""
        return median(self.mask_seconds)

    @property
    def share_of_bare(self) -> float:
        """Our decode rate over the bare loop's, pair by pair."""
        return median(one.decode_rate / one.bare_decode_rate for one in self.rounds)


def measure(
    llm: LLM, workload: Workload, on_round: Callable[[int], None] | None = None
) -> BenchmarkReport:
    """Run the workload, once unmeasured to warm up.

    Args:
        on_round: called with the number of rounds done.

    Raises:
        ContextLengthExceeded, InvalidRequest: the workload does not fit the context.
    """
    _check_fit(llm, workload)
    rounds = []
    for number in range(workload.rounds + 1):
        # The number comes first, so that no round finds the prompt of the one before.
        rounds.append(_round(llm, _request(f"Round {number}. ", workload), workload.tokens))
        if on_round is not None:
            on_round(number)
    form = ChatRequest((Message("user", "Fill in the form."),), response_format=_FORM)
    llm.time_masks(form, _FILLED)  # compiles what is compiled once
    masks = tuple(
        seconds for _ in range(workload.rounds) for seconds in llm.time_masks(form, _FILLED)
    )
    return BenchmarkReport(llm.name, tuple(rounds[1:]), masks, peak_memory())


def peak_memory() -> int:
    """Bytes this process has held at its fullest."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _round(llm: LLM, request: ChatRequest, tokens: int) -> Round:
    with llm.stream(request) as stream:
        answer = collect(stream)
    steps = answer.usage.completion_tokens - 1
    new_tokens = answer.usage.prompt_tokens - answer.usage.cached_tokens
    return Round(
        prompt_tokens=answer.usage.prompt_tokens,
        prompt_rate=new_tokens / answer.timings.prompt_seconds,
        time_to_first_token=answer.timings.time_to_first_token,
        decode_rate=steps / answer.timings.decode_seconds,
        bare_decode_rate=(tokens - 1) / llm.time_bare_loop(request, tokens),
    )


def _request(beginning: str, workload: Workload) -> ChatRequest:
    params = SamplingParams(max_tokens=workload.tokens, ignore_eos=True)
    text = beginning + _SENTENCE * workload.sentences + "What does the harbour master do?"
    return ChatRequest((Message("user", text),), params)


def _check_fit(llm: LLM, workload: Workload) -> None:
    needed = len(llm.prompt_tokens(_request("Round 0. ", workload))) + workload.tokens
    if needed > llm.context_length:
        raise InvalidRequest(
            f"the workload takes {needed} tokens and the context holds {llm.context_length}",
            "sentences",
        )
