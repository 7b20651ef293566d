"""A loaded model that answers: the one place where what is said meets what is computed.

`LLM.stream` is the only way to an answer; everything else (chat, the CLI, the server) is a fold
of it. Synchronous and thread-safe: many threads may stream from one LLM at once, and their
requests are computed together.
"""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

from mistral_small_edge.chat.chunks import ImageGrid, Text
from mistral_small_edge.chat.messages import ChatRequest, TextRequest
from mistral_small_edge.chat.parser import PlainParser
from mistral_small_edge.config import DEFAULT_MODEL, EngineConfig
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.errors import EngineStopped, InvalidRequest, NoProjector
from mistral_small_edge.llm import loading
from mistral_small_edge.llm.chat_model import ChatModel
from mistral_small_edge.llm.computing import Ruled
from mistral_small_edge.llm.constraints import Constraints
from mistral_small_edge.llm.prompts import encode
from mistral_small_edge.llm.recorded import Recorded
from mistral_small_edge.llm.stream import Stream
from mistral_small_edge.store.source import HUB_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from mistral_small_edge.errors import EdgeError
    from mistral_small_edge.llama.bare_loop import BareTimes
    from mistral_small_edge.llm.computing import Computing, Wanted
    from mistral_small_edge.llm.loading import Loaded
    from mistral_small_edge.llm.remote.remote_llm import RemoteLLM


class LLM(ChatModel):
    """A model in memory. Make it with `load`, close it when done (or use `with`).

    Attributes:
        name: as the catalog calls it, or the path of a file of one's own.
        context_length: tokens one conversation can hold, answer included.
        max_sequences: answers that are computed at the same time.
        default_sampling: what the model's publisher recommends.
        memory: what was planned for it.
        step_bytes: what writing a token reads.
        sees: whether it takes pictures.
        flash_attention, kv_type, repack, threads: how it computes, where that was left open.
        workers: the machines that have some of its layers.
        fingerprint: equal where the same seed and prompt give the same answer.
        calibration: what was found out about this machine with this model.
        tokenizer: the model's vocabulary; not to be used after `close`.
    """

    def __init__(self, loaded: Loaded[Computing]) -> None:
        facts, options = loaded.facts, loaded.facts.options
        self.name = facts.name
        self.sees = facts.sees
        self.memory = facts.memory
        self.vision_bytes = facts.memory.vision
        self.step_bytes = facts.step_bytes
        self.fingerprint = facts.fingerprint
        self.calibration = facts.calibration
        self.context_length = options.context_length
        self.max_sequences = options.max_sequences
        self.flash_attention = options.flash_attention
        self.kv_type = options.kv_type
        self.repack = options.repack
        self.threads = options.threads
        self.workers = options.workers
        self.default_sampling = facts.sampling
        self.tokenizer = loaded.tokenizer
        self._dialect = loaded.dialect
        self._computing = loaded.computing
        self._open = threading.Lock()  # held while a caller's thread uses the model's memory
        # Also at interpreter exit: llama.cpp must not be computing when its memory goes.
        self._finalizer = weakref.finalize(self, _shut_down, self._computing, loaded.held)

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        config: EngineConfig | None = None,
        *,
        on_progress: Callable[[float], None] | None = None,
        on_trial: Callable[[float], None] | None = None,
        try_again: bool = False,
    ) -> LLM:
        """Load a model that is on this disk.

        Args:
            model: a catalog name, a path to a `.gguf`, or `hf:owner/repo/file.gguf`.
            config: how; None takes the defaults.
            on_progress: called with 0..1 while weights are read.
            on_trial: called with 0..1 while this machine is tried, which happens once for a model and a
                way of computing it. What either raises ends the load.
            try_again: whether to try it though it was tried before.

        Raises:
            ModelNotFound, NotCached: there is no such model, or not here.
            ModelLoadFailed: a file is damaged, or of a kind that llama.cpp does not know, or the
                projector is another model's.
            NotEnoughMemory: it would not fit, and `config.force` is off.
            WorkerError: a worker that `config` names is of no use.
        """
        return cls(
            loading.load(model, config or EngineConfig(), on_progress, on_trial, anew=try_again)
        )

    @classmethod
    def connect(cls, url: str, *, api_key: str | None = None) -> RemoteLLM:
        """The model behind a server of this program: nothing is loaded here.

        Args:
            url: as `http://127.0.0.1:8080`.
            api_key: what the server asks for, if it does.

        Raises:
            ServerError: no such server answers there, or not with this key.
            EngineLoading: it is still reading its model.
        """
        from mistral_small_edge.llm.remote.remote_llm import RemoteLLM

        return RemoteLLM.connect(url, api_key=api_key)

    def stream(self, request: ChatRequest | TextRequest) -> Stream:
        """Begin to answer, or to go on with a text; as `ChatModel.stream` says."""
        return self._begin(request, self._wanted(request))

    @property
    def interruption(self) -> EdgeError | None:
        """Why nothing can be computed now; None while it can.

        A model that has lost a worker comes back by itself once the worker does.
        """
        return self._computing.interruption

    @property
    def names(self) -> tuple[str, ...]:
        """What the model may be asked for by: its name, without its build too, and its family's.

        A file of one's own is called as the file is, without the way to it.
        """
        own = self.name
        if own.lower().endswith(".gguf") and not own.startswith(HUB_PREFIX):
            own = PurePath(own).stem
        return (*dict.fromkeys((own, own.partition(":")[0], *self._dialect.family)),)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of plain text; nothing in it becomes a control token.

        Raises:
            EngineStopped: the model was closed.
        """
        with self._in_use():
            return tuple(self.tokenizer.encode(text))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text that ids spell; control tokens spell nothing, bytes that are no text U+FFFD.

        Raises:
            InvalidRequest: an id that the vocabulary lacks.
            EngineStopped: the model was closed.
        """
        self._check_ids(tokens, "tokens")
        with self._in_use():
            return b"".join(map(self.tokenizer.token_bytes, tokens)).decode("utf-8", "replace")

    def prompt_tokens(self, request: ChatRequest | TextRequest) -> tuple[int, ...]:
        """The ids that `stream` would have the model continue; a picture's are those of its marks.

        Raises:
            InvalidRequest: the model's template refuses the messages.
            NoProjector: there is a picture, and nothing to see it with.
            EngineStopped: the model was closed.
        """
        return self._prompt(request).tokens

    def time_bare_loop(
        self, request: ChatRequest | TextRequest, tokens: int, *, threads: int | None = None
    ) -> BareTimes:
        """The benchmark's yardstick: the prompt and `tokens` - 1 decode steps without an engine.

        Same weights, same thread.

        Args:
            threads: compute threads; None takes as many as the engine has.

        Raises:
            What `stream` raises.
        """
        prompt, params = self.prompt_tokens(request), request.sampling or self.default_sampling
        return self._computing.time_bare_loop(prompt, params, tokens, threads or self.threads)

    def keep_threads(self, count: int) -> None:
        """Remember that this file is the fastest with so many threads here, for those who leave it open."""
        self._computing.keep_threads(count)

    def peak_memory(self) -> int:
        """Bytes that the program has held at its fullest; what workers hold is not counted."""
        return self._computing.peak_memory()

    def replay(self, request: ChatRequest, text: str, *, speculate: bool) -> Stream:
        """The benchmark's: answer with `text`, computing as if the model had chosen every token of it.

        Args:
            speculate: whether tokens may be guessed ahead.

        Raises:
            What `stream` raises.
        """
        recorded = Recorded(self.encode(text), self.tokenizer.vocab_size)
        return self._begin(request, recorded, speculate=speculate)

    def time_masks(self, request: ChatRequest, text: str) -> tuple[float, ...]:
        """What holding an answer to its shape costs: seconds for each token of `text`.

        Every token is asked for as in an answer, and the one that `text` has there is taken.

        Raises:
            InvalidRequest: the request has no shape, or `text` is not of it.
        """
        wanted = self._wanted(request)
        constraint = None
        if wanted is not None:
            constraint = Constraints(self.tokenizer).new(wanted.rules, wanted.begun)
        seconds = []
        for token in self.tokenizer.encode(text):
            begun = time.perf_counter()
            allowed = constraint.allowed() if constraint is not None else None
            seconds.append(time.perf_counter() - begun)
            if constraint is None or allowed is None or not allowed[token // 8] >> token % 8 & 1:
                raise InvalidRequest(f"{text!r} is not of that shape", "response_format")
            constraint.accept(token)
        return tuple(seconds)

    def close(self) -> None:
        """End every running request and free the memory. Idempotent."""
        with self._open:
            self._finalizer()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """The model's memory stays while a caller's thread uses it."""
        with self._open:
            if not self._finalizer.alive:
                raise EngineStopped
            yield

    def _check_ids(self, tokens: Sequence[int], param: str) -> None:
        for token in tokens:
            if not 0 <= token < self.tokenizer.vocab_size:
                raise InvalidRequest(
                    f"{param} has {token}; the vocabulary has {self.tokenizer.vocab_size}", param
                )

    def _begin(
        self, request: ChatRequest | TextRequest, wanted: Wanted, *, speculate: bool = True
    ) -> Stream:
        prompt = self._prompt(request)
        params = request.sampling or self.default_sampling
        with self._in_use():
            outputs = self._computing.submit(prompt, params, wanted, speculate=speculate)
        chat = request if isinstance(request, ChatRequest) else None
        parser = PlainParser() if chat is None else self._dialect.parser(chat)
        return Stream(self, outputs, parser, self.tokenizer.control_name)

    def _wanted(self, request: ChatRequest | TextRequest) -> Ruled | None:
        if not isinstance(request, ChatRequest):
            return None
        rules = self._dialect.rules(request)
        return None if rules is None else Ruled(rules, self._dialect.begun(request))

    def _prompt(self, request: ChatRequest | TextRequest) -> Prompt:
        if isinstance(request, ChatRequest):
            chunks = self._dialect.render(request)
        elif isinstance(request.prompt, str):
            chunks = (Text(request.prompt),)
        else:
            self._check_ids(request.prompt, "prompt")
            return Prompt(request.prompt)
        if not self.sees and any(isinstance(chunk, ImageGrid) for chunk in chunks):
            raise NoProjector(self.names[0])
        with self._in_use():
            return encode(chunks, self.tokenizer)


def _shut_down(computing: Computing, held: ExitStack) -> None:
    computing.close()
    held.close()
