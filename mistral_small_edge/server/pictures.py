"""The pictures of a request: from their addresses to what the model is shown.

An address that names another machine is followed only where that is allowed, and a file of this one
never. Pictures are fetched and decoded off the event loop and one after the other, so that a
request with many of them takes no more memory than one with a large one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mistral_small_edge.errors import ContextLengthExceeded, NoProjector, UnsupportedImage
from mistral_small_edge.images.data_uri import data_uri_bytes
from mistral_small_edge.server.wire_messages import images_of

if TYPE_CHECKING:
    from mistral_small_edge.images import Image
    from mistral_small_edge.images.decode import Opened
    from mistral_small_edge.llm import LLM
    from mistral_small_edge.server.wire_messages import Address, WireImage, WireMessage

NOTES_HEADER = "X-Image-Notes"


class Pictures:
    """Opens the pictures of requests.

    Args:
        follow: whether http and https addresses are followed.
    """

    def __init__(self, *, follow: bool) -> None:
        self._follow = follow
        self._turn = asyncio.Semaphore(1)

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
            async with self._turn:
                opened = await asyncio.to_thread(self._open, wire, param, llm.auto_image_tokens)
            found[wire.address] = opened.image
            notes += opened.remarks
            tokens = sum(image.num_tokens for image in found.values())
            if tokens >= llm.context_length:
                raise ContextLengthExceeded(tokens, llm.context_length)
        return found, {NOTES_HEADER: "; ".join(notes)} if notes else {}

    def _open(self, wire: WireImage, param: str, auto_tokens: int) -> Opened:
        from mistral_small_edge.images.decode import open_image

        most = auto_tokens if wire.detail == "auto" else None
        data = self._bytes(wire.url, param)
        return open_image(data, name=param, detail=wire.detail, most_tokens=most, param=param)

    def _bytes(self, url: str, param: str) -> bytes:
        scheme = url[:8].partition(":")[0].lower()
        if scheme == "data":
            return data_uri_bytes(url, param)
        if scheme not in ("http", "https"):
            raise UnsupportedImage(
                "the picture's address must be a data URI, or http(s) where the server allows it",
                param,
            )
        if not self._follow:
            raise UnsupportedImage("this server follows no address to a picture", param)
        from mistral_small_edge.images.remote import fetch_image

        return fetch_image(url, param=param)
