"""Answers to one client, whole or as they are written: what all completions have in common."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from mistral_small_edge.chat.deltas import Delta, Finish
from mistral_small_edge.errors import EdgeError
from mistral_small_edge.server import sse
from mistral_small_edge.server.bridge import Bridge
from mistral_small_edge.server.errors import error_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable

    from mistral_small_edge.llm import LLM, Stream
    from mistral_small_edge.server.asked import Asked, Shape
    from mistral_small_edge.server.service import Service
    from mistral_small_edge.server.wire_answer import JSONObject

T = TypeVar("T")
_CLIENT_GONE = 499  # as others log it; nobody reads it


async def respond(
    request: Request, service: Service, llm: LLM, asked: Asked, headers: dict[str, str]
) -> Response:
    """Answer what is asked in one response.

    A stream begins with its first piece, or with its first sign of life: until then it may fail with a
    status, and a proxy may have it answered elsewhere.

    Raises:
        RequestError: one could never be computed; nothing has been sent then.
        EngineOverloaded: too many wait already.
        EngineTimeout: the answer, or the first piece of a stream, took longer than is granted.
        EdgeError: it could not be computed.
    """
    with ExitStack() as held:
        held.enter_context(service.admission.let_in(len(asked.requests)))
        streams = await _begin(llm, asked)
        bridge = held.enter_context(Bridge(streams, service.config.request_timeout))
        running = _Running(bridge, len(asked.requests), asked.shape, service)
        if asked.stream:
            pulse = held.enter_context(sse.Pulse(service.config.heartbeat, bridge.wake))
            events = running.events(pulse)
            first = await _unless_gone(request, _next(events))
            if first is None:
                return Response(status_code=_CLIENT_GONE)
            return sse.EventStream(_from_first(first, events), held.pop_all(), headers)
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

    async def whole(self) -> JSONObject:
        """The object, when all is there."""
        deltas: list[list[Delta]] = [[] for _ in range(self._choices)]
        async for choice, come in self._counted():
            deltas[choice] += come
        return self._shape.whole(deltas)

    async def events(self, pulse: sse.Pulse) -> AsyncIterator[bytes]:
        """Objects as they come, the first ones together with the first that says something."""
        ends: list[Finish] = []
        begun = _events(self._shape.begin(self._choices))
        async for choice, come in self._counted():
            ends += [delta for delta in come if isinstance(delta, Finish)]
            said = _events(self._shape.piece(choice, delta) for delta in come)
            if said:
                yield begun + said
                begun = b""
                pulse.beat()
            elif pulse.missed:
                yield sse.ALIVE
                pulse.beat()
        ended = self._shape.end(ends)
        if ended is not None:
            yield sse.event(ended)

    async def _counted(self) -> AsyncIterator[tuple[int, list[Delta]]]:
        async for choice, come in self._bridge:
            for delta in come:
                if isinstance(delta, Finish):
                    self._metrics.answered(delta)
            yield choice, come


def _events(objects: Iterable[JSONObject | None]) -> bytes:
    return b"".join(sse.event(one) for one in objects if one is not None)


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events)  # there is one: every answer has an end


async def _from_first(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """All events of a stream that has begun; an error becomes the last but one."""
    yield first
    try:
        async for event in events:
            yield event
    except EdgeError as error:
        yield sse.event(error_object(error))
    yield sse.DONE


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


async def _begin(llm: LLM, asked: Asked) -> list[Stream]:
    """Off the event loop: a long prompt takes its time."""
    opening = asyncio.ensure_future(asyncio.to_thread(asked.begin, llm))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:  # the client left: the thread goes on, and opens for nobody
        opening.add_done_callback(_close_opened)
        raise


def _close_opened(opening: asyncio.Future[list[Stream]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        for stream in opening.result():
            stream.close()
