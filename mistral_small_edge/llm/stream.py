"""An answer on its way: the engine's outputs, told as chat's deltas."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from mistral_small_edge.chat.chunks import Control, Text
from mistral_small_edge.chat.deltas import (
    Alternative,
    Delta,
    Finish,
    ImageProgress,
    Progress,
    PromptLogprobs,
    TextDelta,
    Timings,
    TokenLogprob,
    Usage,
)
from mistral_small_edge.chat.parser import CALL
from mistral_small_edge.engine.outputs import (
    ControlOutput,
    Failed,
    Finished,
    FinishReason,
    Output,
    PictureProgress,
    PromptProgress,
    PromptScores,
    TextOutput,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mistral_small_edge.chat.parser import Parser
    from mistral_small_edge.engine.outputs import ScoredPiece, ScoredToken
    from mistral_small_edge.engine.worker import OutputStream


class Stream:
    """An answer on its way: an iterator of deltas. Read it from one thread; close it any time."""

    def __init__(
        self, owner: object, outputs: OutputStream, parser: Parser, name: Callable[[int], str]
    ) -> None:
        self._owner = owner  # an LLM nobody else holds must live until its answer is read
        self._name = name  # of a control token
        self._outputs = outputs
        self._parser = parser
        self._ready: deque[Delta] = deque()

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        while not self._ready:
            self._ready.extend(self._deltas(next(self._outputs)))
        return self._ready.popleft()

    @property
    def ended(self) -> bool:
        """Whether everything has been read, or it was closed."""
        return not self._ready and self._outputs.ended

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when there is something to take: now, and by the engine's thread.

        It is to return at once.
        """
        self._outputs.listen(listener)

    def take(self) -> list[Delta]:
        """What is there, without waiting for more.

        Raises:
            What reading raises, but not before all else was taken.
        """
        taken = [*self._ready]
        self._ready.clear()
        for output in self._outputs.take():
            taken.extend(self._deltas(output))
        return taken

    def close(self) -> None:
        """Give up the rest of the answer; takes effect within one batch. Idempotent."""
        self._outputs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _deltas(self, output: Output) -> Iterator[Delta]:
        match output:
            case PromptProgress():
                yield Progress(output.processed, output.total, output.cached)
            case PictureProgress():
                yield ImageProgress(output.number, output.total, output.done)
            case PromptScores():
                yield PromptLogprobs(tuple(map(_logprob, output.scored)))
            case TextOutput():
                logprobs = tuple(map(_logprob, output.scored))
                for delta in self._parser.feed(Text(output.text)):
                    yield (
                        replace(delta, logprobs=logprobs) if isinstance(delta, TextDelta) else delta
                    )
            case ControlOutput():
                yield from self._marks(self._name(output.token), output.scored)
            case Finished():
                yield from self._parser.finish()
                yield _finish(output, called=self._parser.num_calls > 0)
            case Failed():
                raise output.error

    def _marks(self, name: str, scored: ScoredToken | None) -> Iterator[Delta]:
        """What a control token means; one that means nothing is text, and has its score."""
        mark = Control(name)
        for delta in self._parser.feed(mark):
            is_text = mark != CALL and isinstance(delta, TextDelta) and delta.text == name
            if is_text and scored is not None:
                logprob = replace(_logprob(scored), token=name, token_bytes=name.encode())
                yield TextDelta(name, (logprob,))
            else:
                yield delta


def _logprob(scored: ScoredToken) -> TokenLogprob:
    chosen = _alternative(scored.chosen)
    top = tuple(map(_alternative, scored.top))
    return TokenLogprob(chosen.token, chosen.token_bytes, chosen.logprob, top)


def _alternative(scored: ScoredPiece) -> Alternative:
    return Alternative(scored.piece.decode("utf-8", "replace"), scored.piece, scored.logprob)


def _finish(output: Finished, *, called: bool) -> Finish:
    return Finish(
        "tool_calls" if called and output.reason is FinishReason.STOP else output.reason.value,
        Usage(
            output.prompt_tokens,
            output.completion_tokens,
            output.cached_tokens,
            output.drafted_tokens,
            output.accepted_tokens,
        ),
        Timings(
            output.queue_seconds,
            output.prompt_seconds,
            output.decode_seconds,
            output.image_seconds,
        ),
    )
