"""An answer for each of many prompts, in their order, with every slot at work meanwhile.

Prompts are taken as they are wanted: a few more than can be computed at once, so that no slot waits, and
never so many that answers pile up behind one that takes long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from mistral_small_edge.chat.deltas import collect
from mistral_small_edge.chat.messages import ChatRequest, Message, TextRequest
from mistral_small_edge.chat.response_format import ResponseFormat
from mistral_small_edge.errors import EdgeError, InvalidRequest
from mistral_small_edge.llm.together import Deltas, Together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mistral_small_edge.chat.deltas import ChatResponse
    from mistral_small_edge.llm.chat_model import DeltaStream
    from mistral_small_edge.sampling_params import SamplingParams

    Asked = ChatRequest | TextRequest
    MapPrompt = str | Sequence[Message] | Asked

T = TypeVar("T")
# Times the slots. Twice: for every answer that ends there is a prompt that waits. Eight times: as
# many others may be over while the one whose turn it is goes on.
UNDER_WAY = 2
AHEAD = 8


class Answers(Generic[T]):
    """Answers in the order of their prompts. Read it from one thread; close it to give up the rest.

    What went wrong with a prompt is raised when its turn comes. The next answer may be asked for
    all the same.
    """

    def __init__(
        self,
        prompts: Iterable[MapPrompt],
        begin: Callable[[MapPrompt], DeltaStream],
        value: Callable[[ChatResponse], T],
        slots: int,
    ) -> None:
        self._begin = begin
        self._value = value
        self._slots = slots
        self._together: Together[int] = Together()
        self._ended: dict[int, Deltas | EdgeError] = {}  # and it is not their turn
        self._begun = 0
        self._turn = 0
        self._prompts: Iterator[MapPrompt] | None = None
        self._prompts = iter(prompts)  # last: what cannot be gone through raises

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        self._begin_more()
        if self._turn == self._begun:
            raise StopIteration
        while self._turn not in self._ended:
            number, end = self._together.wait()
            self._ended[number] = end
            self._begin_more()
        end = self._ended.pop(self._turn)
        self._turn += 1
        if isinstance(end, EdgeError):
            raise end
        return self._value(collect(end[0]))

    def close(self) -> None:
        """Give up what has not been read; takes effect within one batch. Idempotent."""
        self._prompts = None
        self._together.close()
        self._ended.clear()
        self._turn = self._begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _begin_more(self) -> None:
        while (
            self._prompts is not None
            and len(self._together) < UNDER_WAY * self._slots
            and self._begun - self._turn < AHEAD * self._slots
        ):
            try:
                prompt = next(self._prompts)
            except StopIteration:
                self._prompts = None
                return
            try:
                self._together.begin(self._begun, [self._begin(prompt)])
            except EdgeError as error:
                self._ended[self._begun] = error
            self._begun += 1


def answers(
    stream: Callable[[Asked], DeltaStream],
    slots: int,
    prompts: Iterable[MapPrompt],
    system: str | None,
    sampling: SamplingParams | None,
    response_format: ResponseFormat | type[T] | None,
) -> Answers[ChatResponse] | Answers[T]:
    """Answers of a model with so many slots; `LLM.map` says what the rest means.

    Raises:
        InvalidRequest: no answer can be an instance of the type.
    """
    if response_format is None or isinstance(response_format, ResponseFormat):
        options = _Options(system, sampling, response_format)
        return Answers(prompts, lambda prompt: stream(options.request(prompt)), _as_it_is, slots)
    from mistral_small_edge.llm.functions import TypedAnswer

    typed = TypedAnswer(response_format)
    options = _Options(system, sampling, typed.format)
    return Answers(prompts, lambda prompt: stream(options.request(prompt)), typed.value, slots)


def _as_it_is(response: ChatResponse) -> ChatResponse:
    return response


@dataclass(frozen=True, slots=True)
class _Options:
    """What holds for every prompt that is no request yet."""

    system: str | None
    sampling: SamplingParams | None
    response_format: ResponseFormat | None

    def request(self, prompt: MapPrompt) -> Asked:
        """The request that a prompt is.

        Raises:
            InvalidRequest: it is one already, and there is an option that would change it.
        """
        if isinstance(prompt, ChatRequest | TextRequest):
            self._refuse_any()
            return prompt
        turns = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
        if self.system is not None:
            turns.insert(0, Message("system", self.system))
        return ChatRequest(tuple(turns), self.sampling, response_format=self.response_format)

    def _refuse_any(self) -> None:
        for name in ("system", "sampling", "response_format"):
            if getattr(self, name) is not None:
                raise InvalidRequest(
                    f"a whole request brings its own {name}, and another was given", name
                )
