"""Answers to one client, whole or as they are written: what all completions have in common."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from mistral_small_edge.chat.deltas import Delta, Finish
from mistral_small_edge.errors import EdgeError, EngineTimeout
from mistral_small_edge.server import sse
from mistral_small_edge.server.bridge import Bridge
from mistral_small_edge.server.errors import error_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence

    from mistral_small_edge.chat.messages import ChatRequest, TextRequest
    from mistral_small_edge.llm import LLM, Stream
    from mistral_small_edge.server.service import Service
    from mistral_small_edge.server.wire_answer import JSONObject

    Requests = Sequence[ChatRequest | TextRequest]

T = TypeVar("T")
_CLIENT_GONE = 499  # as others log it; nobody reads it


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


async def respond(
    request: Request,
    service: Service,
    llm: LLM,
    requests: Requests,
    shape: Shape,
    *,
    stream: bool,
    headers: dict[str, str],
) -> Response:
    """Answer the requests in one response.

    Raises:
        RequestError: one could never be computed; nothing has been sent then.
        EngineOverloaded: too many wait already.
        EngineTimeout: a whole answer took longer than is granted.
    """
    with ExitStack() as held:
        held.enter_context(service.admission.let_in(len(requests)))
        bridge = held.enter_context(Bridge(await _begin(llm, requests)))
        running = _Running(bridge, len(requests), shape, service)
        if stream:
            events = sse.with_heartbeats(running.events(), service.config.heartbeat)
            return sse.EventStream(events, held.pop_all(), headers)
        found = await _unless_gone(request, running.whole())
        if found is None:
            return Response(status_code=_CLIENT_GONE)
        return JSONResponse(found, headers=headers)


class _Running:
    """Answers on their way."""

    def __init__(self, bridge: Bridge, choices: int, shape: Shape, service: Service) -> None:
        self._bridge = bridge
        self._choices = choices
        self._shape = shape
        self._metrics = service.metrics
        self._timeout = service.config.request_timeout

    async def whole(self) -> JSONObject:
        """The object, when all is there."""
        deltas: list[list[Delta]] = [[] for _ in range(self._choices)]
        async for choice, delta in self._in_time():
            deltas[choice].append(delta)
        return self._shape.whole(deltas)

    async def events(self) -> AsyncIterator[bytes]:
        """Objects as they come; an error becomes the last event but one."""
        ends: list[Finish] = []
        try:
            for begun in self._shape.begin(self._choices):
                yield sse.event(begun)
            async for choice, delta in self._in_time():
                if isinstance(delta, Finish):
                    ends.append(delta)
                piece = self._shape.piece(choice, delta)
                if piece is not None:
                    yield sse.event(piece)
            ended = self._shape.end(ends)
            if ended is not None:
                yield sse.event(ended)
        except EdgeError as error:
            yield sse.event(error_object(error))
        yield sse.DONE

    async def _in_time(self) -> AsyncIterator[tuple[int, Delta]]:
        try:
            async with asyncio.timeout(self._timeout):
                async for choice, delta in self._bridge:
                    if isinstance(delta, Finish):
                        self._metrics.answered(delta)
                    yield choice, delta
        except TimeoutError:
            raise EngineTimeout(self._timeout or 0) from None


async def _unless_gone(request: Request, answering: Coroutine[Any, Any, T]) -> T | None:
    """What comes of it; None, and it is given up, if the client hangs up before."""
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        gone.cancel()
        answer.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _begin(llm: LLM, requests: Requests) -> list[Stream]:
    """Render, encode and queue, off the event loop: a long prompt takes its time."""
    opening = asyncio.ensure_future(asyncio.to_thread(partial(_open, llm, requests)))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:  # the client left: the thread goes on, and opens for nobody
        opening.add_done_callback(_close_opened)
        raise


def _open(llm: LLM, requests: Requests) -> list[Stream]:
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
