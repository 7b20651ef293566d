"""What a token costs when much has gone before it.

The context is really filled, through the same door as any prompt: each text begins with the one
before it, so only what is new is read, and what was written there is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.benchmark.workload import plain_text
from mistral_small_edge.chat.deltas import Progress, collect
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mistral_small_edge.chat.deltas import Delta
    from mistral_small_edge.llm import LLM

FIRST = 1024  # tokens
WRITTEN_TOKENS = 32  # at each position


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """Seconds that a token takes at one position.

    Attributes:
        position: tokens before the answer; 0 stands for a single one, as there is no empty prompt.
        read_from: where reading up to `position` began; what lay before was read already.
        prompt_seconds: a token's, in the mean of that stretch; None at 0.
        decode_seconds: a token's, in the mean of those written behind `position`.
        step_bytes: that writing one of them reads at the least.
    """

    position: int
    read_from: int
    prompt_seconds: float | None
    decode_seconds: float
    step_bytes: float


def depths_of(context_length: int, first: int = FIRST) -> tuple[int, ...]:
    """Where to measure: 0, `first`, twice that, and so on, and where the context ends.

    Raises:
        InvalidRequest: there would be nothing to compare.
    """
    last = context_length - WRITTEN_TOKENS
    if last < first:
        raise InvalidRequest(
            f"a context of {context_length} tokens is too short to see what its length costs: "
            f"it takes {first + WRITTEN_TOKENS}",
            "context_length",
        )
    positions = [0]
    while first <= last * 2 // 3:  # a short last stretch would tell little
        positions.append(first)
        first *= 2
    return (*positions, last)


def measure_depths(
    llm: LLM, positions: Sequence[int], on_progress: Callable[[int, int], None] | None = None
) -> tuple[Depth, ...]:
    """Fill the context up to each position in turn, and write some tokens there.

    Args:
        positions: ascending, the last one with room for what is written.
        on_progress: called with the tokens read, and how many there are to read.

    Raises:
        ContextLengthExceeded: a position does not fit.
    """
    told = on_progress or (lambda _done, _total: None)
    return tuple(
        _measure(llm, position, lambda done: told(done, positions[-1])) for position in positions
    )


def _measure(llm: LLM, position: int, on_progress: Callable[[int], None]) -> Depth:
    request = plain_text(llm, max(position, 1), WRITTEN_TOKENS)
    with llm.stream(request) as stream:
        answer = collect(_telling(stream, on_progress))
    usage, timings = answer.usage, answer.timings
    new_tokens = usage.prompt_tokens - usage.cached_tokens
    return Depth(
        position=position,
        read_from=usage.cached_tokens,
        prompt_seconds=timings.prompt_seconds / new_tokens if position else None,
        decode_seconds=timings.decode_seconds / (usage.completion_tokens - 1),
        step_bytes=llm.step_bytes.behind(usage.prompt_tokens + usage.completion_tokens // 2),
    )


def _telling(deltas: Iterable[Delta], on_progress: Callable[[int], None]) -> Iterator[Delta]:
    for delta in deltas:
        if isinstance(delta, Progress):
            on_progress(delta.processed)
        yield delta
