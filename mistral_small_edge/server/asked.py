"""What a body asks of a model, and how the answer is to be spelt: nothing of HTTP.

Where the server and a batch part: the one has a client to answer, the other a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mistral_small_edge.errors import ModelNotFound
from mistral_small_edge.server.wire_answer import Head
from mistral_small_edge.server.wire_chat import ChatShape, answers
from mistral_small_edge.server.wire_text import TextShape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mistral_small_edge.chat.deltas import Delta, Finish
    from mistral_small_edge.chat.messages import ChatRequest, TextRequest
    from mistral_small_edge.images import Image
    from mistral_small_edge.llm import LLM, Stream
    from mistral_small_edge.server.wire_answer import JSONObject
    from mistral_small_edge.server.wire_chat import ChatCompletionRequest
    from mistral_small_edge.server.wire_messages import Address
    from mistral_small_edge.server.wire_text import CompletionRequest


class Shape(Protocol):
    """How answers are spelt; a choice is the number of its request."""

    def whole(self, deltas: Sequence[Sequence[Delta]]) -> JSONObject:
        """The object that has all of every choice."""

    def begin(self, choices: int) -> Iterable[JSONObject]:
        """What a stream says before there is anything to say."""

    def piece(self, choice: int, delta: Delta) -> JSONObject | None:
        """What a delta is in a stream; None if nothing is to be said of it."""

    def end(self, ends: Sequence[Finish]) -> JSONObject | None:
        """What a stream says when every choice has ended."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests, one for each choice; the shape of their answers; whether as they are written."""

    requests: Sequence[ChatRequest | TextRequest]
    shape: Shape
    stream: bool

    def begin(self, llm: LLM) -> list[Stream]:
        """Render, encode and queue; a long prompt takes its time.

        Raises:
            RequestError: one could never be computed; none is begun then.
            EngineStopped: the model was closed.
        """
        streams: list[Stream] = []
        try:
            streams.extend(map(llm.stream, self.requests))
        except BaseException:
            for stream in streams:
                stream.close()
            raise
        return streams


def chat(
    body: ChatCompletionRequest, images: Mapping[Address, Image], llm: LLM, slots: int
) -> Asked:
    """What `POST /v1/chat/completions` asks; `images` has the body's pictures.

    Raises:
        InvalidRequest: a value that cannot be honoured; `param` names its field.
    """
    found = answers(body, images, llm.default_sampling, slots)
    head = Head.new("chatcmpl", body.model, llm.fingerprint)
    shape = ChatShape(head, found.logprobs, found.include_usage, found.include_progress)
    return Asked(found.requests, shape, found.stream)


def text(body: CompletionRequest, llm: LLM, slots: int) -> Asked:
    """What `POST /v1/completions` asks; with `echo` its prompts are encoded, which takes its time.

    Raises:
        InvalidRequest: a value that cannot be honoured; `param` names its field.
        EngineStopped: the model was closed.
    """
    requests = body.requests(llm.default_sampling, slots)
    shape = TextShape(
        Head.new("cmpl", body.model, llm.fingerprint),
        body.logprobs is not None,
        body.include_usage,
        [llm.prompt_tokens(one) for one in requests] if body.echo else [],
        body.max_tokens == 0,
        llm.decode,
        body.include_progress,
    )
    return Asked(requests, shape, bool(body.stream))


def check_name(name: str, names: Sequence[str]) -> None:
    """Whether a model is called so, in whatever case.

    Raises:
        ModelNotFound: it is not; it lists the names that it has.
    """
    if name.lower() not in (known.lower() for known in names):
        raise ModelNotFound(name, names)
