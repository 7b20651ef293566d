"""`POST /v1/chat/completions`: a conversation in, an answer out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request, Response

from mistral_small_edge.chat.deltas import Delta, Finish, TextDelta, ToolCallDelta, collect
from mistral_small_edge.server.answering import respond
from mistral_small_edge.server.fields import refuse_unknown
from mistral_small_edge.server.service import Service, service_of
from mistral_small_edge.server.wire_answer import Head, JSONObject, delta_object, logprobs_object
from mistral_small_edge.server.wire_chat import ChatCompletionRequest, answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

router = APIRouter(tags=["completions"])


@router.post("/v1/chat/completions")
@router.post("/api/v1/chat/completions", include_in_schema=False)
async def chat_completions(
    request: Request, body: ChatCompletionRequest, service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Answer a conversation."""
    headers = refuse_unknown(body, lenient=service.config.lenient)
    llm = service.llm(body.model)
    images, notes = await service.pictures.of(body.messages, llm)
    asked = answers(body, images, llm.default_sampling, service.admission.slots)
    shape = ChatShape(
        Head.new("chatcmpl", body.model, llm.fingerprint), asked.logprobs, asked.include_usage
    )
    return await respond(
        request, service, llm, asked.requests, shape, stream=asked.stream, headers=headers | notes
    )


@dataclass(frozen=True, slots=True)
class ChatShape:
    """OpenAI's chat.completion, and its chunks."""

    head: Head
    logprobs: bool
    include_usage: bool

    def whole(self, deltas: Sequence[Sequence[Delta]]) -> JSONObject:
        """The chat.completion."""
        return self.head.completion([collect(some) for some in deltas], self.logprobs)

    def begin(self, choices: int) -> Iterator[JSONObject]:
        """Whose turn it is."""
        for choice in range(choices):
            yield self._chunk(choice, {"role": "assistant", "content": ""})

    def piece(self, choice: int, delta: Delta) -> JSONObject | None:
        """Text, a piece of a call, or an end."""
        match delta:
            case TextDelta():
                scores = logprobs_object(delta.logprobs) if self.logprobs else None
                return self._chunk(choice, delta_object(delta), logprobs=scores)
            case ToolCallDelta():
                return self._chunk(choice, delta_object(delta))
            case Finish():
                return self._chunk(choice, {}, finish=delta.reason)
        return None

    def end(self, ends: Sequence[Finish]) -> JSONObject | None:
        """The usage, if it was asked for."""
        return self.head.last_chunk(ends) if self.include_usage else None

    def _chunk(
        self, choice: int, delta: JSONObject, *, finish: str | None = None, logprobs: object = None
    ) -> JSONObject:
        chunk = self.head.chunk(choice, delta, finish=finish, logprobs=logprobs)
        return chunk | {"usage": None} if self.include_usage else chunk
