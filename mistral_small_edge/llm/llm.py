"""A loaded model that answers: the one place where what is said meets what is computed.

`LLM.stream` is the only way to an answer; everything else (chat, the CLI, the server) is a fold
of it. Synchronous and thread-safe: many threads may stream from one LLM at once, and their
requests are computed together.
"""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Self, TypeVar, overload

from mistral_small_edge.chat.chunks import ImageGrid, Text
from mistral_small_edge.chat.deltas import (
    ChatResponse,
    collect,
)
from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextPart, TextRequest
from mistral_small_edge.chat.parser import PlainParser
from mistral_small_edge.chat.response_format import ResponseFormat
from mistral_small_edge.config import DEFAULT_MODEL, EngineConfig
from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.engine.worker import Worker
from mistral_small_edge.errors import EngineStopped, InvalidRequest, NoProjector
from mistral_small_edge.gguf import read_header
from mistral_small_edge.host import probe_host
from mistral_small_edge.images.geometry import auto_budget
from mistral_small_edge.llama.bare_loop import BareLoop
from mistral_small_edge.llama.model import Model, ModelOptions, load_model
from mistral_small_edge.llama.runner import LlamaRunner
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from mistral_small_edge.llm.calibrations import calibration
from mistral_small_edge.llm.constraints import Constraints
from mistral_small_edge.llm.fingerprint import fingerprint, fingerprint_of_answers
from mistral_small_edge.llm.prompts import encode
from mistral_small_edge.llm.recorded import Recorded
from mistral_small_edge.llm.setup import (
    choose_dialect,
    choose_options,
    choose_packing,
    choose_projector,
    new_projector,
    open_store,
    plan_memory,
)
from mistral_small_edge.llm.stream import Stream
from mistral_small_edge.memory import step_bytes
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.store.catalog import resolve
from mistral_small_edge.store.source import HUB_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mistral_small_edge.chat.dialect import Dialect
    from mistral_small_edge.chat.tools import Tool, ToolChoice
    from mistral_small_edge.engine.backend import Constraint
    from mistral_small_edge.engine.calibration import Calibration
    from mistral_small_edge.images import Detail
    from mistral_small_edge.images.sources import PictureSource
    from mistral_small_edge.llama.bare_loop import BareTimes
    from mistral_small_edge.llama.constraint import LlamaConstraint
    from mistral_small_edge.llama.projector import Projector
    from mistral_small_edge.memory import MemoryPlan, StepBytes

    Offered = Tool | Callable[..., object]

T = TypeVar("T")
MAX_ROUNDS = 8  # of calls, before the model has to answer


class LLM:
    """A model in memory. Make it with `load`, close it when done (or use `with`).

    Attributes:
        name: as the catalog calls it, or the path of a file of one's own.
        context_length: tokens one conversation can hold, answer included.
        default_sampling: what the model's publisher recommends.
        memory: what was planned for it.
        step_bytes: what writing a token reads.
        sees: whether it takes pictures.
        flash_attention, kv_type, threads: how it computes, where that was left open.
        fingerprint: equal where the same seed and prompt give the same answer.
        calibration: what was found out about this machine with this model.
        tokenizer: the model's vocabulary; not to be used after `close`.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        options: ModelOptions,
        dialect: Dialect,
        default_sampling: SamplingParams,
        fingerprint: str,
        memory: MemoryPlan,
        step_bytes: StepBytes,
        calibration: Calibration,
        engine: Engine,
        projector: Projector | None = None,
    ) -> None:
        self.name = name
        self.sees = projector is not None
        self.memory = memory
        self.step_bytes = step_bytes
        self.fingerprint = fingerprint
        self.calibration = calibration
        self.context_length = options.context_length
        self.flash_attention = options.flash_attention
        self.kv_type = options.kv_type
        self.threads = options.threads
        self.default_sampling = default_sampling
        self._model = model
        self._options = options
        self._dialect = dialect
        self.tokenizer = LlamaTokenizer(model)
        self._constraints = Constraints(self.tokenizer)
        self._worker = Worker(engine)
        self._open = threading.Lock()  # held while a caller's thread uses the model's memory
        # Also at interpreter exit: llama.cpp must not be computing when its memory goes.
        self._finalizer = weakref.finalize(self, _shut_down, self._worker, projector, model)

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        config: EngineConfig | None = None,
        *,
        on_progress: Callable[[float], None] | None = None,
        on_trial: Callable[[float], None] | None = None,
    ) -> LLM:
        """Load a model that is on this disk.

        Args:
            model: a catalog name, a path to a `.gguf`, or `hf:owner/repo/file.gguf`.
            config: how; None takes the defaults.
            on_progress: called with 0..1 while weights are read.
            on_trial: called with 0..1 while this machine is tried, which happens once for a model and a
                way of computing it. What either raises ends the load.

        Raises:
            ModelNotFound, NotCached: there is no such model, or not here.
            ModelLoadFailed: a file is damaged, or of a kind that llama.cpp does not know, or the
                projector is another model's.
            NotEnoughMemory: it would not fit, and `config.force` is off.
        """
        config = config or EngineConfig()
        file = resolve(model)
        header = read_header(file.path)
        host = probe_host()
        options = choose_options(header, host, config)
        sight = choose_projector(model, header, config)
        memory = plan_memory(header, host, options, sight, force=config.force)
        parts = (*file.parts, sight.path) if sight else file.parts
        options = choose_packing(header, parts, host, options, config, on_trial)
        loaded = load_model(file.path, options, on_progress)
        try:
            tokenizer = LlamaTokenizer(loaded)
            dialect = choose_dialect(file.path, header.chat_template, tokenizer)
            sampling = file.sampling or SamplingParams()
            projector = new_projector(sight, loaded, options, config) if sight else None
            mark = fingerprint(parts, options)
            runner = LlamaRunner(loaded, options, projector)
            known = calibration(runner, mark, host, options, on_trial)
            runner.row_classes = known.repeats.rows
            adapts = config.threads is None and not options.uses_gpu
            if adapts and known.repeats.any_threads:
                runner.adapt_threads(options.threads, known.costs)
            costs = known.costs if config.speculation == "auto" else None
            engine = Engine(
                runner,
                tokenizer,
                prefill_chunk=options.prefill_chunk,
                store=open_store(config, mark, file.name, header, options),
                costs=costs,
            )
            mark = fingerprint_of_answers(mark, costs)
            return cls(
                file.name,
                loaded,
                options,
                dialect,
                sampling,
                mark,
                memory,
                step_bytes(header, options.kv_type),
                known,
                engine,
                projector,
            )
        except BaseException:
            loaded.close()
            raise

    def stream(self, request: ChatRequest | TextRequest) -> Stream:
        """Begin to answer, or to go on with a text.

        Returns:
            The answer's deltas as they come. Close it to give up, also while the prompt is read.

        Raises:
            InvalidRequest: a field cannot be honoured; `param` names it.
            InvalidGrammar: the response format or a tool's parameters cannot be enforced.
            ContextLengthExceeded: the prompt does not fit.
            EngineStopped: the model was closed.
        """
        return self._begin(request, self._constraint(request))

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

        Same weights, same thread: with a thread of its own it would bring a second pool of compute
        threads, and both would be slow for having more of them than cores.

        Args:
            threads: compute threads; None takes as many as the engine has.

        Raises:
            What `stream` raises.
        """
        prompt, params = self.prompt_tokens(request), request.sampling or self.default_sampling
        options = replace(
            self._options,
            max_sequences=1,
            context_length=len(prompt) + tokens,  # a second one of the full length may not fit
            threads=threads or self.threads,
        )

        def run() -> BareTimes:
            with closing(BareLoop(self._model, options)) as bare:
                return bare.run(prompt, params, tokens)

        return self._worker.call(run)

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
        constraint = self._constraint(request)
        seconds = []
        for token in self.tokenizer.encode(text):
            begun = time.perf_counter()
            allowed = constraint.allowed() if constraint is not None else None
            seconds.append(time.perf_counter() - begun)
            if constraint is None or allowed is None or not allowed[token // 8] >> token % 8 & 1:
                raise InvalidRequest(f"{text!r} is not of that shape", "response_format")
            constraint.accept(token)
        return tuple(seconds)

    def answer(self, request: ChatRequest | TextRequest) -> ChatResponse:
        """The whole answer, once it is there.

        Raises:
            What `stream` raises.
        """
        with self.stream(request) as stream:
            return collect(stream)

    @overload
    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        system: str | None = None,
        images: Sequence[PictureSource] = (),
        image_detail: Detail = "auto",
        sampling: SamplingParams | None = None,
        tools: Sequence[Offered] = (),
        tool_choice: ToolChoice | None = None,
        parallel_tool_calls: bool = True,
        response_format: ResponseFormat | None = None,
        run_tools: bool = False,
        max_rounds: int = MAX_ROUNDS,
    ) -> ChatResponse: ...
    @overload
    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        system: str | None = None,
        images: Sequence[PictureSource] = (),
        image_detail: Detail = "auto",
        sampling: SamplingParams | None = None,
        tools: Sequence[Offered] = (),
        tool_choice: ToolChoice | None = None,
        parallel_tool_calls: bool = True,
        response_format: type[T],
        run_tools: bool = False,
        max_rounds: int = MAX_ROUNDS,
    ) -> T: ...
    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        system: str | None = None,
        images: Sequence[PictureSource] = (),
        image_detail: Detail = "auto",
        sampling: SamplingParams | None = None,
        tools: Sequence[Offered] = (),
        tool_choice: ToolChoice | None = None,
        parallel_tool_calls: bool = True,
        response_format: ResponseFormat | type[T] | None = None,
        run_tools: bool = False,
        max_rounds: int = MAX_ROUNDS,
    ) -> ChatResponse | T:
        """Answer a conversation, or a single question given as a string.

        Args:
            images: pictures that the single question is about: paths, bytes, data URIs or
                Pillow's; in a conversation they are ImageParts of its messages.
            image_detail: low takes at most 272 tokens a picture, high up to 3080, auto the same
                but no more than half of the context.
            tools: descriptions, or Python functions: a function's signature and docstring
                describe it.
            response_format: the shape of the answer; a pydantic model or another type has its
                answer returned as an instance.
            run_tools: run the functions that are called and tell the model what they return,
                until it answers; the response's `earlier` has these turns.
            max_rounds: answers that may call, before one that may not.

        Raises:
            AnswerCutShort: an instance was wanted and there was no room for all of it.
            UnsupportedImage: a picture that cannot be had or looked at.
            InvalidRequest: tools that cannot be run, or be described.
            What `stream` raises, and what a function raises.
        """
        from mistral_small_edge.llm import functions

        shown = self._images(images, image_detail)
        if isinstance(messages, str):
            turns = [Message("user", (*shown, TextPart(messages)) if shown else messages)]
        elif shown:
            raise InvalidRequest("images go with a question that is a string", "images")
        else:
            turns = list(messages)
        if system is not None:
            turns.insert(0, Message("system", system))
        offered, runnable = functions.as_tools(tools)
        typed = wanted = None
        if response_format is None or isinstance(response_format, ResponseFormat):
            wanted = response_format
        else:
            typed = functions.TypedAnswer(response_format)
            wanted = typed.format
        request = ChatRequest(
            tuple(turns), sampling, offered, tool_choice, parallel_tool_calls, wanted
        )
        if run_tools:
            response = functions.run_tools(self.answer, request, runnable, max_rounds)
        elif typed and offered:
            raise InvalidRequest(
                "a call is no instance of a type: set run_tools, or give no tools", "tools"
            )
        else:
            response = self.answer(request)
        return typed.value(response) if typed else response

    def close(self) -> None:
        """End every running request and free the memory. Idempotent."""
        with self._open:
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def _images(self, sources: Sequence[PictureSource], detail: Detail) -> tuple[ImagePart, ...]:
        if not sources:
            return ()
        from mistral_small_edge.images.sources import image_from

        most = auto_budget(detail, self.context_length)
        return tuple(
            ImagePart(image_from(source, detail=detail, most_tokens=most)) for source in sources
        )

    def _begin(
        self,
        request: ChatRequest | TextRequest,
        constraint: Constraint | None,
        *,
        speculate: bool = True,
    ) -> Stream:
        prompt = self._prompt(request)
        params = request.sampling or self.default_sampling
        outputs = self._worker.submit(prompt, params, constraint, speculate=speculate)
        chat = request if isinstance(request, ChatRequest) else None
        parser = PlainParser() if chat is None else self._dialect.parser(chat)
        return Stream(self, outputs, parser, self.tokenizer.control_name)

    def _constraint(self, request: ChatRequest | TextRequest) -> LlamaConstraint | None:
        if not isinstance(request, ChatRequest):
            return None
        rules = self._dialect.rules(request)
        if rules is None:
            return None
        begun = self._dialect.begun(request)
        with self._in_use():
            return self._constraints.new(rules, begun)

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


def _shut_down(worker: Worker, projector: Projector | None, model: Model) -> None:
    worker.close()
    if projector is not None:
        projector.close()
    model.close()
