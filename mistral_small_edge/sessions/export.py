"""A session for others to read: Markdown for people, a request's JSON for programs.

Pure; whoever asks has the text, and writes it.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Literal

from mistral_small_edge.chat.messages import ImagePart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.chat.conversation import Question
    from mistral_small_edge.chat.messages import Message
    from mistral_small_edge.images import Image
    from mistral_small_edge.sessions.session import Session

Format = Literal["md", "json"]


def exported(session: Session, name: str, form: Format) -> str:
    """The session called `name` as text, its last line ended."""
    return _markdown(session, name) if form == "md" else _request(session)


def _markdown(session: Session, name: str) -> str:
    talk = session.conversation
    parts = [f"# {name}"]
    if session.model:
        parts.append(f"Held with {session.model}.")
    if talk.system:
        parts += ["**System**", talk.system]
    for exchange in talk.exchanges:
        parts += [*_asked(exchange.question), "**Assistant**", exchange.answer]
    if session.unanswered is not None:
        parts += [*_asked(session.unanswered), "*(not answered)*"]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _asked(question: Question) -> Iterator[str]:
    yield "**You**"
    for image in question.images:
        yield f"*(a picture, seen as {image.width}x{image.height} pixels)*"
    yield question.text


def _request(session: Session) -> str:
    """The body of a chat completion that goes on from here, once there is a question or has been."""
    talk, waiting = session.conversation, session.unanswered
    said = [*talk.said, *([waiting.message] if waiting else [])]
    body = {"model": session.model, "messages": [_object(message) for message in said]}
    return json.dumps(body, ensure_ascii=False, indent=2) + "\n"


def _object(message: Message) -> dict[str, object]:
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    parts = [
        _picture(part.image) if isinstance(part, ImagePart) else {"type": "text", "text": part.text}
        for part in message.parts
    ]
    return {"role": message.role, "content": parts}


def _picture(image: Image) -> dict[str, object]:
    from mistral_small_edge.images.encode import png_bytes

    address = "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()
    return {"type": "image_url", "image_url": {"url": address}}
