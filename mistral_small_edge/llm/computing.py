"""What computes for an LLM: an engine in this process, or in one of its own.

Prompts in, outputs out. What an answer is to be like goes along as chat's rules, which can be sent;
the constraint over the vocabulary is made where it is used.
"""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from mistral_small_edge.engine.worker import Worker
from mistral_small_edge.host import peak_memory
from mistral_small_edge.llama.bare_loop import BareLoop
from mistral_small_edge.llm.constraints import Constraints
from mistral_small_edge.llm.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.chat.grammar import AnswerRules
    from mistral_small_edge.engine.backend import Constraint
    from mistral_small_edge.engine.engine import Engine
    from mistral_small_edge.engine.prompt import Prompt
    from mistral_small_edge.engine.worker import OutputStream
    from mistral_small_edge.errors import EdgeError
    from mistral_small_edge.llama.bare_loop import BareTimes
    from mistral_small_edge.llama.model import Model, ModelOptions
    from mistral_small_edge.llama.tokenizer import LlamaTokenizer
    from mistral_small_edge.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class Ruled:
    """An answer is to be as `rules` say; its beginning `begun` is the caller's."""

    rules: AnswerRules
    begun: str


Wanted = Ruled | Recorded | None


class Computing(Protocol):
    """Answers many requests at once. Thread-safe."""

    @property
    def interruption(self) -> EdgeError | None:
        """Why nothing can be computed now; None while it can."""

    def submit(
        self, prompt: Prompt, params: SamplingParams, wanted: Wanted, *, speculate: bool
    ) -> OutputStream:
        """Queue a request.

        Raises:
            RequestError: it could never be computed.
            EdgeError: nothing is computed now.
        """

    def time_bare_loop(
        self, prompt: tuple[int, ...], params: SamplingParams, tokens: int, threads: int
    ) -> BareTimes:
        """As of `LLM.time_bare_loop`."""

    def keep_threads(self, count: int) -> None:
        """As of `LLM.keep_threads`."""

    def peak_memory(self) -> int:
        """Bytes that the program has held at its fullest; workers not counted."""

    def close(self) -> None:
        """End every request, and whatever computes. Idempotent."""


class Here:
    """An engine in this process. Close it before what it computes with."""

    def __init__(
        self,
        engine: Engine,
        model: Model,
        options: ModelOptions,
        tokenizer: LlamaTokenizer,
        keep_threads: Callable[[int], None],
    ) -> None:
        self._model = model
        self._options = options
        self._keep_threads = keep_threads
        self._constraints = Constraints(tokenizer)
        self._one_at_a_time = threading.Lock()  # of the constraints
        self._worker = Worker(engine)

    @property
    def interruption(self) -> EdgeError | None:
        """Why the engine has ended, if it has."""
        return self._worker.stopped

    def stepping_for(self) -> float:
        """Seconds that the step in work has taken so far; 0 while there is none."""
        return self._worker.stepping_for()

    def submit(
        self, prompt: Prompt, params: SamplingParams, wanted: Wanted, *, speculate: bool
    ) -> OutputStream:
        """As of Computing."""
        return self._worker.submit(prompt, params, self._constraint(wanted), speculate=speculate)

    def time_bare_loop(
        self, prompt: tuple[int, ...], params: SamplingParams, tokens: int, threads: int
    ) -> BareTimes:
        """As of Computing: in the engine's thread.

        In one of its own it would bring a second pool of compute threads, and both would be slow for
        having more of them than cores.
        """
        options = replace(
            self._options,
            max_sequences=1,
            context_length=len(prompt) + tokens,  # a second one of the full length may not fit
            threads=threads,
        )

        def run() -> BareTimes:
            with closing(BareLoop(self._model, options)) as bare:
                return bare.run(prompt, params, tokens)

        return self._worker.call(run)

    def keep_threads(self, count: int) -> None:
        """As of Computing."""
        self._keep_threads(count)

    def peak_memory(self) -> int:
        """As of Computing."""
        return peak_memory()

    def close(self) -> None:
        """End every request and the engine's thread."""
        self._worker.close()

    def _constraint(self, wanted: Wanted) -> Constraint | None:
        if not isinstance(wanted, Ruled):
            return wanted
        with self._one_at_a_time:
            return self._constraints.new(wanted.rules, wanted.begun)
