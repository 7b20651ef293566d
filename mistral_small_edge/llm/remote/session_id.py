"""By what a proxy before several servers knows a conversation again, so that it finds its prefix.

Nothing is remembered for it: it follows from how the conversation begins, which stays as it is while the
conversation grows, also in another process. Who reads it learns none of the words.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import ImagePart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.chat.messages import ChatRequest, Message, Part

_BYTES = 8  # as good as never the same for two beginnings, and too few to hold one


def session_id(request: ChatRequest) -> str:
    """16 hex digits: the same for all requests with the same messages up to the first user's."""
    beginning = json.dumps([_told(message) for message in _beginning(request)])
    return blake2b(beginning.encode(), digest_size=_BYTES).hexdigest()


def _beginning(request: ChatRequest) -> Iterator[Message]:
    for message in request.messages:
        yield message
        if message.role == "user":
            return


def _told(message: Message) -> list[object]:
    content = message.content
    return [
        message.role,
        content if isinstance(content, str) else [_part(part) for part in content],
    ]


def _part(part: Part) -> list[str]:
    if isinstance(part, ImagePart):
        return ["image", part.image.digest]
    return ["text", part.text]
