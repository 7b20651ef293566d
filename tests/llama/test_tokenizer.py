"""Vocabularies: what goes in comes out, and control tokens stay out.

The demo model's own vocabulary has no token for some control bytes; the tiny one has all 256.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.llama.model import ModelOptions, load_model
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from mistral_small_edge.store.catalog import resolve
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.model

OPTIONS = ModelOptions(
    context_length=256,
    max_sequences=1,
    prefill_chunk=64,
    threads=1,
    gpu_layers=0,
    kv_type="f16",
    flash_attention=False,
    mlock=False,
)


@pytest.fixture(scope="module")
def tokenizer() -> Iterator[LlamaTokenizer]:
    model = load_model(resolve("demo").path, OPTIONS)
    yield LlamaTokenizer(model)
    model.close()


@pytest.fixture(scope="module")
def all_bytes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaTokenizer]:
    model = load_model(write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf"), OPTIONS)
    yield LlamaTokenizer(model)
    model.close()


def spell(tokenizer: LlamaTokenizer, tokens: list[int]) -> bytes:
    return b"".join(map(tokenizer.token_bytes, tokens))


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_text_comes_back_byte_for_byte(all_bytes: LlamaTokenizer, text: str) -> None:
    assert spell(all_bytes, all_bytes.encode(text)) == text.encode()


@pytest.mark.parametrize(
    "text", ["", "\0", "a\0b", "مرحبا", "नमस्ते", "👩‍👩‍👧‍👦", "e\u0301", "日本語" * 2000]
)
def test_awkward_text(all_bytes: LlamaTokenizer, text: str) -> None:
    assert spell(all_bytes, all_bytes.encode(text)) == text.encode()


def test_control_tokens_have_names_no_text_and_no_way_in(tokenizer: LlamaTokenizer) -> None:
    controls = tokenizer.control_tokens
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= controls.keys()
    for name, token in controls.items():
        assert tokenizer.token_bytes(token) == b""
        assert token not in tokenizer.encode(f"x{name}y")
        assert spell(tokenizer, tokenizer.encode(name)) == name.encode()


def test_the_end_of_a_turn_is_an_end(tokenizer: LlamaTokenizer) -> None:
    controls = tokenizer.control_tokens
    assert tokenizer.is_end(controls["<|im_end|>"])
    assert not tokenizer.is_end(controls["<|im_start|>"])
    assert tokenizer.eos == "<|im_end|>"


def test_a_token_longer_than_usual_is_whole(tokenizer: LlamaTokenizer) -> None:
    longest = max(range(tokenizer.vocab_size), key=lambda token: len(tokenizer.token_bytes(token)))
    piece = tokenizer.token_bytes(longest)
    assert len(piece) > 64
    assert tokenizer.encode(piece.decode()) == [longest]


@pytest.mark.parametrize("character", ["a", " ", "!", "1", "中"])
def test_a_run_that_would_take_llama_cpp_down_is_refused(
    tokenizer: LlamaTokenizer, character: str
) -> None:
    assert tokenizer.encode(character * 10_000)
    with pytest.raises(InvalidRequest, match="10000") as caught:
        tokenizer.encode("before " + character * 10_001)
    assert caught.value.param == "messages"
