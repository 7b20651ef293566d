"""Text gone on with, and how likely it was: prompts without turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.chat.messages import TextRequest
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.toy.tekken import Tekken
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

SURE = SamplingParams(temperature=0, max_tokens=1, top_logprobs=3)


@pytest.fixture(scope="module", params=["auto", "on"])
def llm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    path = tmp_path_factory.mktemp("tiny") / "v11.gguf"
    write_tiny_model(path, chat_template=None, tekken=Tekken(), shape=TinyShape(context=1024))
    config = EngineConfig(context_length=1024, threads=1, flash_attention=request.param)
    with LLM.load(path, config) as llm:
        yield llm


def test_text_is_begun_as_the_vocabulary_wants_and_ids_are_left_alone(llm: LLM) -> None:
    assert llm.prompt_tokens(TextRequest("Hello [INST]")) == (1, *llm.encode("Hello [INST]"))
    assert llm.prompt_tokens(TextRequest((5, 6, 7))) == (5, 6, 7)
    with pytest.raises(InvalidRequest, match="4096") as caught:
        llm.prompt_tokens(TextRequest((5, 4096)))
    assert caught.value.param == "prompt"


def test_what_may_follow_is_as_likely_when_it_is_read_as_when_it_is_written(llm: LLM) -> None:
    prompt = llm.prompt_tokens(TextRequest("The tide comes in twice a day, and not at five."))
    scoring = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=3)
    read = llm.answer(TextRequest(prompt, scoring)).prompt_logprobs
    assert [one.token_bytes for one in read] == [
        llm.tokenizer.token_bytes(token) for token in prompt[1:]
    ]
    for length in range(9, len(prompt)):
        written = llm.answer(TextRequest(prompt[:length], SURE)).logprobs[0].top
        after = read[length - 1].top
        assert [one.token_bytes for one in after] == [one.token_bytes for one in written]
        for one, other in zip(after, written, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=0.01)


def test_the_same_text_is_scored_the_same_whatever_was_before(llm: LLM) -> None:
    scoring = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
    request = TextRequest("One two three four five six seven eight nine ten. " * 5, scoring)
    first = llm.answer(request).prompt_logprobs
    llm.answer(TextRequest("One two three", SURE))
    assert llm.answer(request).prompt_logprobs == first
    assert all(one.logprob < 0 for one in first)
