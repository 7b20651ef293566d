"""Where what is said meets what is computed: a model that answers, here or behind a server.

The only rooms that know both `chat` and `engine`. `ChatModel.stream` is the one way to an answer. Names
are imported when first used: who speaks with a server loads no llama.cpp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_small_edge.llm.chat_model import ChatModel
    from mistral_small_edge.llm.llm import LLM
    from mistral_small_edge.llm.remote.remote_llm import RemoteLLM
    from mistral_small_edge.llm.stream import Stream

_HOMES = {
    "LLM": "llm",
    "ChatModel": "chat_model",
    "RemoteLLM": "remote.remote_llm",
    "Stream": "stream",
}

__all__ = ["LLM", "ChatModel", "RemoteLLM", "Stream"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
