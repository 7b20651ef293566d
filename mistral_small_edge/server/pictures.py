"""The pictures of a request: from their addresses to what the model is shown.

An address that names another machine is followed only where that is allowed, and a file of this one
never. Pictures are fetched and decoded off the event loop and decoded one after the other, so that a
request with many of them takes no more memory than one with a large one. One that is long on its way
keeps none waiting that is here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mistral_small_edge.errors import ContextLengthExceeded, NoProjector, UnsupportedImage
from mistral_small_edge.images.data_uri import data_uri_bytes
from mistral_small_edge.images.geometry import auto_budget
from mistral_small_edge.server.wire_messages import images_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.images import Image
    from mistral_small_edge.images.decode import Opened
    from mistral_small_edge.llm import LLM
    from mistral_small_edge.server.wire_messages import Address, WireImage, WireMessage

NOTES_HEADER = "X-Image-Notes"
_MOST_NOTES = 20  # clients give up on longer headers
_MOST_FETCHES = 2  # at a time: each takes a thread of those that all requests share


def _fetched(url: str, param: str) -> bytes:
    """Imported where it is wanted: few servers follow addresses."""
    from mistral_small_edge.images.remote import fetch_image

    return fetch_image(url, param=param)


class Pictures:
    """Opens the pictures of requests.

    Args:
        follow: whether http and https addresses are followed.
        fetch: the bytes at such an address; told the field that it came in, for errors.
    """

    def __init__(self, *, follow: bool, fetch: Callable[[str, str], bytes] = _fetched) -> None:
        self._follow = follow
        self._fetch = fetch
        self._fetching = asyncio.Semaphore(_MOST_FETCHES)
        self._decoding = asyncio.Semaphore(1)

    async def of(
        self, messages: list[WireMessage], llm: LLM
    ) -> tuple[dict[Address, Image], dict[str, str]]:
        """Each picture of a conversation, and headers that tell what is to be said of them.

        Raises:
            NoProjector: the model sees nothing.
            UnsupportedImage: a picture cannot be had or looked at; `param` says which.
            ContextLengthExceeded: the pictures alone are too much.
        """
        found: dict[Address, Image] = {}
        notes: list[str] = []
        for param, wire in images_of(messages):
            if not llm.sees:
                raise NoProjector(llm.names[0], param)
            if wire.address in found:
                continue
            opened = await self._open(wire, param, auto_budget(wire.detail, llm.context_length))
            found[wire.address] = opened.image
            notes += opened.remarks
            tokens = sum(image.num_tokens for image in found.values())
            if tokens >= llm.context_length:
                raise ContextLengthExceeded(tokens, llm.context_length)
        return found, _headers(notes)

    async def _open(self, wire: WireImage, param: str, most: int | None) -> Opened:
        scheme = wire.url[:8].partition(":")[0].lower()
        if scheme == "data":
            return await self._decoded(None, wire, param, most)
        if scheme not in ("http", "https"):
            raise UnsupportedImage(
                "the picture's address must be a data URI, or http(s) where that is allowed",
                param,
            )
        if not self._follow:
            raise UnsupportedImage("addresses of pictures are not followed here", param)
        async with self._fetching:  # until it is decoded: its bytes wait for their turn in memory
            data = await asyncio.to_thread(self._fetch, wire.url, param)
            return await self._decoded(data, wire, param, most)

    async def _decoded(
        self, data: bytes | None, wire: WireImage, param: str, most: int | None
    ) -> Opened:
        async with self._decoding:
            return await asyncio.to_thread(_decode, data, wire, param, most)


def _decode(data: bytes | None, wire: WireImage, param: str, most: int | None) -> Opened:
    """`data` None stands for what the address itself holds."""
    from mistral_small_edge.images.decode import open_image

    if data is None:
        data = data_uri_bytes(wire.url, param)
    return open_image(data, name=param, detail=wire.detail, most_tokens=most, param=param)


def _headers(notes: list[str]) -> dict[str, str]:
    more = len(notes) - _MOST_NOTES
    told = [*notes[:_MOST_NOTES], f"and {more} more"] if more > 0 else notes
    return {NOTES_HEADER: "; ".join(told)} if told else {}
