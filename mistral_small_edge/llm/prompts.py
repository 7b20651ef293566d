"""A rendered prompt as the engine takes it: chat's chunks into ids, and pictures in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_small_edge.chat.chunks import Chunk, Control, ImageGrid, Text
from mistral_small_edge.engine.prompt import Picture, Prompt

if TYPE_CHECKING:
    from mistral_small_edge.llama.tokenizer import LlamaTokenizer


def encode(chunks: tuple[Chunk, ...], tokenizer: LlamaTokenizer) -> Prompt:
    """Ids of all chunks, after the mark that begins a text; every Text in one piece.

    A picture's marks but the last stand for rows that the picture itself fills.
    """
    controls = tokenizer.control_tokens
    ids: list[int] = []
    pictures: list[Picture] = []
    if tokenizer.adds_bos and tokenizer.bos is not None and chunks[:1] != (Control(tokenizer.bos),):
        ids.append(controls[tokenizer.bos])
    for chunk in chunks:
        match chunk:
            case Control():
                ids.append(controls[chunk.name])
            case Text():
                ids += tokenizer.encode(chunk.text)
            case ImageGrid():
                marks = [controls[mark.name] for mark in chunk.marks]
                pictures.append(Picture(chunk.image, len(ids), len(marks) - 1))
                ids += marks
    return Prompt(tuple(ids), tuple(pictures))
