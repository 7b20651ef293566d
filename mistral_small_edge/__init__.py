"""Mistral Small 3.2, quantized, on ordinary CPUs and Apple Metal.

    from mistral_small_edge import LLM

    with LLM.load("mistral-small-3.2") as llm:
        print(llm.chat("Name three colours.").text)

Names are imported when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_small_edge.chat.deltas import (
        ChatResponse,
        Delta,
        Finish,
        ImageProgress,
        Progress,
        TextDelta,
        Timings,
        ToolCallDelta,
        Usage,
    )
    from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextPart
    from mistral_small_edge.chat.response_format import (
        Choice,
        JsonObject,
        JsonSchema,
        LarkGrammar,
        Regex,
    )
    from mistral_small_edge.chat.tools import NamedTool, Tool, ToolCall
    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.errors import EdgeError
    from mistral_small_edge.images import Image
    from mistral_small_edge.images.sources import image_from
    from mistral_small_edge.llm import LLM, ChatModel, RemoteLLM, Stream
    from mistral_small_edge.sampling_params import SamplingParams

_HOMES = {
    "LLM": "llm",
    "ChatModel": "llm",
    "ChatRequest": "chat.messages",
    "ChatResponse": "chat.deltas",
    "Choice": "chat.response_format",
    "Delta": "chat.deltas",
    "EdgeError": "errors",
    "EngineConfig": "config",
    "Finish": "chat.deltas",
    "Image": "images",
    "ImagePart": "chat.messages",
    "ImageProgress": "chat.deltas",
    "JsonObject": "chat.response_format",
    "JsonSchema": "chat.response_format",
    "LarkGrammar": "chat.response_format",
    "Message": "chat.messages",
    "NamedTool": "chat.tools",
    "Progress": "chat.deltas",
    "Regex": "chat.response_format",
    "RemoteLLM": "llm",
    "SamplingParams": "sampling_params",
    "Stream": "llm",
    "TextDelta": "chat.deltas",
    "TextPart": "chat.messages",
    "Timings": "chat.deltas",
    "Tool": "chat.tools",
    "ToolCall": "chat.tools",
    "ToolCallDelta": "chat.deltas",
    "Usage": "chat.deltas",
    "image_from": "images.sources",
}

__all__ = [
    "LLM",
    "ChatModel",
    "ChatRequest",
    "ChatResponse",
    "Choice",
    "Delta",
    "EdgeError",
    "EngineConfig",
    "Finish",
    "Image",
    "ImagePart",
    "ImageProgress",
    "JsonObject",
    "JsonSchema",
    "LarkGrammar",
    "Message",
    "NamedTool",
    "Progress",
    "Regex",
    "RemoteLLM",
    "SamplingParams",
    "Stream",
    "TextDelta",
    "TextPart",
    "Timings",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "image_from",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
