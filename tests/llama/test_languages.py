"""The model's languages: ids as the original's, bytes back as they came, no half characters."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.engine.detokenizer import Detokenizer
from scripts.toy.tekken import FULL_SIZE, TOY_SIZE
from tests.languages import HARD, SENTENCES
from tests.tekken_vocabulary import both_tokenizers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mistral_small_edge.llama.tokenizer import LlamaTokenizer

TEXTS = SENTENCES | HARD
Both = tuple["LlamaTokenizer", "Callable[[str], list[int]]"]


@pytest.fixture(scope="module", params=[TOY_SIZE, FULL_SIZE])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    with both_tokenizers(tmp_path_factory.mktemp("tekken"), request.param) as (ours, original):
        tekken = original.instruct_tokenizer.tokenizer
        yield ours, lambda text: tekken.encode(text, bos=False, eos=False)


def test_there_are_24_languages() -> None:
    assert len(SENTENCES) == 24


@pytest.mark.parametrize("name", TEXTS)
def test_ids_are_the_originals_and_bytes_come_back(both: Both, name: str) -> None:
    ours, original = both
    text = TEXTS[name]
    ids = ours.encode(text)
    assert ids == original(text)
    assert b"".join(map(ours.token_bytes, ids)) == text.encode()


def test_languages_that_follow_each_other_do_not_disturb_each_other(both: Both) -> None:
    ours, original = both
    for joint in ("", " ", "\n", "\n\n  "):
        text = joint.join(TEXTS.values())
        assert ours.encode(text) == original(text)


# Letters and marks of many scripts, weighted to where words begin and end.
characters = st.one_of(
    st.sampled_from("aZé ß\n\t .,'/1٣\u0301\u0308\u093f\u094d\u200d\u064e\ufe0f👩क"),
    st.characters(exclude_categories=["Cs"]),
)


@settings(deadline=None, max_examples=300)
@given(text=st.text(characters, max_size=40))
def test_any_text_is_encoded_as_the_original_does(both: Both, text: str) -> None:
    ours, original = both
    assert ours.encode(text) == original(text)


@pytest.mark.parametrize("name", TEXTS)
def test_a_stream_never_shows_half_a_character(both: Both, name: str) -> None:
    ours, _ = both
    shown = ""
    detokenizer = Detokenizer()
    for token in ours.encode(TEXTS[name]):
        shown += detokenizer.feed(ours.token_bytes(token))
        assert TEXTS[name].startswith(shown)
    assert shown + detokenizer.finish() == TEXTS[name]


# A call of llama.cpp for each of them takes a frame of the stack for every character.
@pytest.mark.parametrize(
    "character", ["a", "Z", "é", "中", " ", "\n", "!", "-", "\u0301", "क\u093f"]
)
def test_a_word_of_any_length_is_encoded(both: Both, character: str) -> None:
    ours, original = both
    assert ours.encode(character * 3_000) == original(character * 3_000)
    endless = character * 200_000
    ids = ours.encode(f"before {endless} after")
    assert b"".join(map(ours.token_bytes, ids)).decode() == f"before {endless} after"


def test_a_long_word_of_many_letters_is_encoded_as_the_original_does(both: Both) -> None:
    ours, original = both
    letters = Random(0).choices("abcdefghij klmnopqrstuvwxyzéü中文", k=30_000)
    text = "".join(letters).replace(" ", "")
    assert ours.encode(text) == original(text)
