"""What answers, wherever it computes: in this process, or behind a server.

Whoever can begin to answer a request (`stream`) can do the rest, which is written here, once: turns out of
a question and pictures, Python functions as tools, Python types as answers, many prompts at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, overload

from mistral_small_edge.chat.deltas import collect
from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextPart
from mistral_small_edge.chat.response_format import ResponseFormat
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.images.geometry import auto_budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mistral_small_edge.chat.deltas import ChatResponse, Delta
    from mistral_small_edge.chat.messages import TextRequest
    from mistral_small_edge.chat.tools import Tool, ToolChoice
    from mistral_small_edge.images import Detail
    from mistral_small_edge.images.sources import PictureSource
    from mistral_small_edge.llm.mapping import Answers, MapPrompt
    from mistral_small_edge.sampling_params import SamplingParams

    Offered = Tool | Callable[..., object]

T = TypeVar("T")
MAX_ROUNDS = 8  # of calls, before the model has to answer


class DeltaStream(Protocol):
    """An answer on its way: an iterator of deltas. Read it from one thread; close it any time."""

    def __iter__(self) -> Iterator[Delta]: ...

    def __next__(self) -> Delta: ...

    @property
    def ended(self) -> bool:
        """Whether everything has been read, or it was closed."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when there is something to take: now, and by another thread.

        It is to return at once.
        """

    def take(self) -> list[Delta]:
        """What is there, without waiting for more.

        Raises:
            What reading raises, but not before all else was taken.
        """

    def close(self) -> None:
        """Give up the rest of the answer. Idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class ChatModel(ABC):
    """A model that answers. Close it when done (or use `with`).

    Attributes:
        name: as its owner calls it.
        context_length: tokens one conversation can hold, answer included.
        max_sequences: answers that are computed at the same time.
        default_sampling: what the model's publisher recommends.
        sees: whether it takes pictures.
        fingerprint: equal where the same seed and prompt give the same answer.
        vision_bytes: memory that looking at a picture takes in this process.
    """

    name: str
    context_length: int
    max_sequences: int
    default_sampling: SamplingParams
    sees: bool
    fingerprint: str
    vision_bytes: int

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What the model may be asked for by."""

    @abstractmethod
    def stream(self, request: ChatRequest | TextRequest) -> DeltaStream:
        """Begin to answer, or to go on with a text.

        Returns:
            The answer's deltas as they come. Close it to give up, also while the prompt is read.

        Raises:
            InvalidRequest: a field cannot be honoured; `param` names it.
            InvalidGrammar: the response format or a tool's parameters cannot be enforced.
            ContextLengthExceeded: the prompt does not fit.
            EngineStopped: the model was closed.
        """

    @abstractmethod
    def close(self) -> None:
        """End every running request and give back what the model holds. Idempotent."""

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

    @overload
    def map(
        self,
        prompts: Iterable[MapPrompt],
        *,
        system: str | None = None,
        sampling: SamplingParams | None = None,
        response_format: ResponseFormat | None = None,
    ) -> Answers[ChatResponse]: ...
    @overload
    def map(
        self,
        prompts: Iterable[MapPrompt],
        *,
        system: str | None = None,
        sampling: SamplingParams | None = None,
        response_format: type[T],
    ) -> Answers[T]: ...
    def map(
        self,
        prompts: Iterable[MapPrompt],
        *,
        system: str | None = None,
        sampling: SamplingParams | None = None,
        response_format: ResponseFormat | type[T] | None = None,
    ) -> Answers[ChatResponse] | Answers[T]:
        """Answer many prompts, as many at a time as there are slots (`EngineConfig.max_sequences`).

        Args:
            prompts: questions, conversations or whole requests; taken one by one, shortly before
                they are computed, so there may be any number of them.
            response_format: the shape of every answer; a type has them returned as instances.

        Returns:
            The answers in the order of the prompts. What `chat` would raise for a prompt is raised
            in its turn, and the next one may be asked for all the same. Close it, or leave its
            `with`, to give up the rest.

        Raises:
            InvalidRequest: no answer can be an instance of the type.
        """
        from mistral_small_edge.llm import mapping

        return mapping.answers(
            self.stream, self.max_sequences, prompts, system, sampling, response_format
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _images(self, sources: Sequence[PictureSource], detail: Detail) -> tuple[ImagePart, ...]:
        if not sources:
            return ()
        from mistral_small_edge.images.sources import image_from

        most = auto_budget(detail, self.context_length)
        return tuple(
            ImagePart(image_from(source, detail=detail, most_tokens=most)) for source in sources
        )
