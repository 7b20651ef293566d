"""mistral_common as the judge of our prompts: our requests in its words, its ids for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
from mistral_common.protocol.instruct.messages import (
    AssistantMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function, FunctionCall
from mistral_common.protocol.instruct.tool_calls import Tool as TheirTool
from mistral_common.protocol.instruct.tool_calls import ToolCall as TheirCall
from mistral_common.tokens.tokenizers.image import ImageEncoder
from PIL import Image

from mistral_small_edge.chat.messages import ImagePart, TextPart

if TYPE_CHECKING:
    from mistral_small_edge.chat.messages import ChatRequest, Message, Part


class Oracle:
    """The v11 tokenizer, pictures counted and not looked at."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        whole = tokenizer.instruct_tokenizer.image_encoder
        whole.__class__ = _CountingEncoder

    def ids(self, request: ChatRequest) -> list[int]:
        """What it encodes the request to; raises what it refuses it with."""
        theirs = ChatCompletionRequest(
            model="any",
            messages=[
                _message(message, last=message is request.messages[-1])
                for message in request.messages
            ],
            tools=[
                TheirTool(
                    function=Function(
                        name=tool.name,
                        description=tool.description,
                        parameters=dict(tool.parameters),
                    )
                )
                for tool in request.tools
            ]
            or None,
        )
        ids: list[int] = self._tokenizer.encode_chat_completion(theirs).tokens
        return ids


class _CountingEncoder(ImageEncoder):
    """Its own arithmetic of cells, without the pixels, which need another library."""

    def __call__(self, content: Any) -> Any:
        columns, rows = self._image_to_num_tokens(content.image)
        ids = self.special_ids
        tokens = ([ids.img] * columns + [ids.img_break]) * rows
        return type("Encoding", (), {"tokens": [*tokens[:-1], ids.img_end], "image": None})


def _message(message: Message, *, last: bool) -> Any:
    content: Any = message.content
    if not isinstance(content, str):
        content = [_chunk(part) for part in content]
    match message.role:
        case "system":
            return SystemMessage(content=content)
        case "user":
            return UserMessage(content=content)
        case "tool":
            return ToolMessage(content=content, tool_call_id=message.tool_call_id)
        case _:
            calls = [
                TheirCall(id=one.id, function=FunctionCall(name=one.name, arguments=one.arguments))
                for one in message.tool_calls
            ]
            return AssistantMessage(content=content or None, tool_calls=calls or None, prefix=last)


def _chunk(part: Part) -> Any:
    if isinstance(part, TextPart):
        return TextChunk(text=part.text)
    assert isinstance(part, ImagePart)
    return ImageChunk(image=Image.new("L", (part.image.width, part.image.height)))
