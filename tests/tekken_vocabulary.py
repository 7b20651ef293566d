"""Tekken at any size on both sides: llama.cpp's vocabulary and mistral_common's tokenizer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gguf import GGUFWriter
from llama_cpp import llama_cpp as lib

from mistral_small_edge.llama.log import redirect
from mistral_small_edge.llama.model import Model
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from scripts.toy.tekken import Tekken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def both_tokenizers(folder: Path, size: int) -> Iterator[tuple[LlamaTokenizer, Any]]:
    """Ours, on a GGUF file that holds nothing but the vocabulary, and the original."""
    tekken = Tekken(size)
    path = folder / f"vocabulary-{size}.gguf"
    writer = GGUFWriter(path, "llama")
    tekken.write(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    redirect()
    params = lib.llama_model_default_params()
    params.vocab_only = True
    weights = lib.llama_model_load_from_file(str(path).encode(), params)
    assert weights
    yield LlamaTokenizer(Model(weights, None)), tekken.oracle(folder)
    lib.llama_model_free(weights)
