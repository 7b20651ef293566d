"""`POST /v1/chat/completions`: a request in, an answer out, whole or as it is written."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from mistral_small_edge.chat.deltas import Delta, Finish, TextDelta, ToolCallDelta, collect
from mistral_small_edge.errors import EdgeError, EngineTimeout
from mistral_small_edge.server import sse
from mistral_small_edge.server.bridge import Bridge
from mistral_small_edge.server.errors import error_object
from mistral_small_edge.server.fields import refuse_unknown
from mistral_small_edge.server.service import Service, service_of
from mistral_small_edge.server.wire_answer import Head, delta_object, logprobs_object
from mistral_small_edge.server.wire_chat import Answers, ChatCompletionRequest, answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mistral_small_edge.chat.messages import ChatRequest
    from mistral_small_edge.llm import LLM, Stream

router = APIRouter(tags=["chat"])
_CLIENT_GONE = 499  # as others log it; nobody reads it


@router.post("/v1/chat/completions")
@router.post("/api/v1/chat/completions", include_in_schema=False)
async def chat_completions(
    request: Request, body: ChatCompletionRequest, service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Answer a conversation."""
    ignored = refuse_unknown(body, lenient=service.config.lenient)
    llm = service.llm(body.model)
    asked = answers(body, llm.default_sampling, service.admission.slots)
    head = Head(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), body.model, llm.fingerprint)
    headers = {"X-Ignored-Fields": ", ".join(ignored)} if ignored else {}
    with ExitStack() as held:
        held.enter_context(service.admission.let_in(len(asked.requests)))
        # What is refused is refused before a response has begun, with its status.
        bridge = held.enter_context(Bridge(await _begin(llm, asked.requests)))
        running = _Running(bridge, asked, head, service)
        if asked.stream:
            events = sse.with_heartbeats(running.events(), service.config.heartbeat)
            return sse.EventStream(events, held.pop_all(), headers)
        answer = asyncio.ensure_future(running.whole())
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not answer.done():
                answer.cancel()
        if not answer.done():
            return Response(status_code=_CLIENT_GONE)
        return JSONResponse(answer.result(), headers=headers)


class _Running:
    """Answers on their way to one client."""

    def __init__(self, bridge: Bridge, asked: Answers, head: Head, service: Service) -> None:
        self._bridge = bridge
        self._asked = asked
        self._head = head
        self._service = service
        self._timeout = service.config.request_timeout

    async def whole(self) -> dict[str, object]:
        """The completion object, when all is there.

        Raises:
            EngineTimeout: it took longer than is granted.
            What the streams raise.
        """
        deltas: list[list[Delta]] = [[] for _ in self._asked.requests]
        async for index, delta in self._in_time():
            deltas[index].append(delta)
        return self._head.completion([collect(some) for some in deltas], self._asked.logprobs)

    async def events(self) -> AsyncIterator[bytes]:
        """Chunks as they come; an error becomes the last event but one."""
        ends: list[Finish] = []
        try:
            for index in range(len(self._asked.requests)):
                yield self._event(index, {"role": "assistant", "content": ""})
            async for index, delta in self._in_time():
                match delta:
                    case TextDelta():
                        scores = logprobs_object(delta.logprobs) if self._asked.logprobs else None
                        yield self._event(index, delta_object(delta), logprobs=scores)
                    case ToolCallDelta():
                        yield self._event(index, delta_object(delta))
                    case Finish():
                        ends.append(delta)
                        yield self._event(index, {}, finish=delta.reason)
            if self._asked.include_usage:
                yield sse.event(self._head.last_chunk(ends))
        except EdgeError as error:
            yield sse.event(error_object(error))
        yield sse.DONE

    def _event(
        self,
        index: int,
        delta: dict[str, object],
        *,
        finish: str | None = None,
        logprobs: object = None,
    ) -> bytes:
        chunk = self._head.chunk(index, delta, finish=finish, logprobs=logprobs)
        return sse.event(chunk | {"usage": None} if self._asked.include_usage else chunk)

    async def _in_time(self) -> AsyncIterator[tuple[int, Delta]]:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                async for index, delta in self._bridge:
                    if isinstance(delta, Finish):
                        self._service.metrics.answered(delta)
                    yield index, delta
        except TimeoutError:
            raise EngineTimeout(self._timeout or 0) from None


async def _begin(llm: LLM, requests: tuple[ChatRequest, ...]) -> list[Stream]:
    """Render, encode and queue, off the event loop: a long prompt takes its time.

    Raises:
        RequestError: a request that could never be computed.
    """
    opening = asyncio.ensure_future(asyncio.to_thread(partial(_open, llm, requests)))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:  # the client left: the thread goes on, and opens for nobody
        opening.add_done_callback(_close_opened)
        raise


def _open(llm: LLM, requests: tuple[ChatRequest, ...]) -> list[Stream]:
    streams: list[Stream] = []
    try:
        streams.extend(map(llm.stream, requests))
    except BaseException:
        for stream in streams:
            stream.close()
        raise
    return streams


def _close_opened(opening: asyncio.Future[list[Stream]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        for stream in opening.result():
            stream.close()


async def _disconnected(request: Request) -> None:
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
