"""A model at work on a batch: every slot busy, each result as it comes."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mistral_small_edge.batch.requests import CHAT
from mistral_small_edge.batch.results import answered, failed
from mistral_small_edge.errors import (
    EdgeError,
    EngineLoading,
    EngineStopped,
    InvalidRequest,
    WorkerError,
)
from mistral_small_edge.llm.mapping import UNDER_WAY
from mistral_small_edge.llm.together import Together
from mistral_small_edge.server import asked
from mistral_small_edge.server.fields import read, refuse_unknown
from mistral_small_edge.server.pictures import Pictures
from mistral_small_edge.server.wire_chat import ChatCompletionRequest
from mistral_small_edge.server.wire_text import CompletionRequest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from mistral_small_edge.batch.requests import BatchRequest
    from mistral_small_edge.batch.results import Result
    from mistral_small_edge.images import Image
    from mistral_small_edge.llm import LLM
    from mistral_small_edge.server.asked import Asked, Shape
    from mistral_small_edge.server.wire_messages import Address, WireMessage
    from mistral_small_edge.server.wire_sampling import WireSampling

B = TypeVar("B", bound="WireSampling")
# Of these no request is the cause: any other would have met the same.
_NOBODYS_OWN = (EngineStopped, EngineLoading, WorkerError)


def run(
    llm: LLM,
    requests: Iterable[BatchRequest],
    *,
    aliases: Sequence[str] = (),
    image_urls: bool = False,
) -> Generator[Result, None, None]:
    """Answer the requests; each is taken when it is about to be computed.

    Close it to give up what is under way.

    Args:
        aliases: further names that requests may call the model by.
        image_urls: fetch pictures from public http and https addresses that requests name.

    Yields:
        Results in the order in which they end, failures among them.

    Raises:
        EngineStopped, EngineLoading, WorkerError: nothing is computed any more, or for now; requests without
            a result have failed in no way of their own.
    """
    reader = _Reader(llm, aliases, image_urls)
    with closing(reader), closing(Together[_Job]()) as together:
        for request in requests:
            while len(together) >= UNDER_WAY * llm.max_sequences:
                yield _next(together)
            try:
                found = reader.asked(request)
                together.begin(_Job(request, found.shape), found.begin(llm))
            except _NOBODYS_OWN:
                raise
            except EdgeError as error:
                yield failed(request, error)
        while together:
            yield _next(together)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A request under way."""

    request: BatchRequest
    shape: Shape


def _next(together: Together[_Job]) -> Result:
    job, end = together.wait()
    if isinstance(end, _NOBODYS_OWN):
        raise end
    if isinstance(end, EdgeError):
        return failed(job.request, end)
    return answered(job.request, job.shape, end)


class _Reader:
    """Reads bodies as the server would, for the endpoints that it has."""

    def __init__(self, llm: LLM, aliases: Sequence[str], image_urls: bool) -> None:
        self._llm = llm
        self._names = (*llm.names, *aliases)
        self._pictures = Pictures(follow=image_urls)
        self._loop = asyncio.Runner()  # the server opens pictures on an event loop, and so do we

    def asked(self, request: BatchRequest) -> Asked:
        """What a request asks.

        Raises:
            RequestError: what the server would refuse it for.
            ModelNotFound: it wants another model.
        """
        slots = self._llm.max_sequences
        if request.url == CHAT:
            chat = self._read(ChatCompletionRequest, request)
            return asked.chat(chat, self._images(chat.messages), self._llm, slots)
        return asked.text(self._read(CompletionRequest, request), self._llm, slots)

    def close(self) -> None:
        """Close the event loop."""
        self._loop.close()

    def _read(self, kind: type[B], request: BatchRequest) -> B:
        body = read(kind, request.body)
        refuse_unknown(body, lenient=False)
        if body.stream:
            raise InvalidRequest("stream is true, and a batch has whole answers only", "stream")
        asked.check_name(body.model, self._names)
        return body

    def _images(self, messages: list[WireMessage]) -> Mapping[Address, Image]:
        images, _ = self._loop.run(self._pictures.of(messages, self._llm))
        return images
