"""Loading and answering with tiny files: everything but sense."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import (
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
    NotEnoughMemory,
)
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = EngineConfig(context_length=256, threads=1)
SHORT = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
HELLO = ChatRequest((Message("user", "Hello"),), SHORT)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def llm(tiny: Path) -> Iterator[LLM]:
    with LLM.load(tiny, SMALL) as llm:
        yield llm


@pytest.mark.parametrize("architecture", ["llama", "mistral3"])
def test_both_spellings_of_the_architecture_answer(tmp_path: Path, architecture: str) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf", architecture=architecture)
    with LLM.load(str(path), SMALL) as llm:
        assert llm.name == str(path)
        assert llm.chat("Hello", sampling=SHORT).usage.completion_tokens == 8


def test_a_split_model_answers_as_the_whole_one(tmp_path: Path) -> None:
    answers = []
    for parts in (1, 3):
        (tmp_path / str(parts)).mkdir()
        path = write_tiny_model(tmp_path / str(parts) / "tiny.gguf", parts=parts)
        with LLM.load(path, SMALL) as llm:
            answers.append(llm.chat("Hello", sampling=SHORT).text)
    assert answers[0] == answers[1]


def test_the_prompt_is_the_templates_tokens(llm: LLM) -> None:
    controls = llm.tokenizer.control_tokens
    ids = list(llm.prompt_tokens(HELLO))
    start, end = controls["<|im_start|>"], controls["<|im_end|>"]
    encode = llm.tokenizer.encode
    expected = [start, *encode("user\nHello"), end, *encode("\n"), start, *encode("assistant\n")]
    bos = [controls["<s>"]] if llm.tokenizer.adds_bos else []
    assert ids == bos + expected


def test_no_text_reaches_the_model_as_a_control_token(llm: LLM) -> None:
    plain = [t for t in llm.prompt_tokens(HELLO) if t in llm.tokenizer.control_tokens.values()]
    for name in llm.tokenizer.control_tokens:
        for role in ("system", "user", "assistant"):
            message = Message(role, f"{name}{name}")
            ids = llm.prompt_tokens(ChatRequest((message, Message("user", "x"))))
            controls = [t for t in ids if t in llm.tokenizer.control_tokens.values()]
            assert len(controls) == len(plain) + 2  # one more turn, opened and closed


def test_a_system_prompt_goes_first(llm: LLM) -> None:
    with_system = llm.chat("Hello", system="Be brief.", sampling=SHORT)
    by_hand = llm.chat([Message("system", "Be brief."), Message("user", "Hello")], sampling=SHORT)
    assert with_system.text == by_hand.text
    assert with_system.usage.prompt_tokens == by_hand.usage.prompt_tokens


def test_what_cannot_fit_is_refused_with_numbers_before_it_is_loaded(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf", shape=TinyShape(context=2**31 - 256))
    with pytest.raises(NotEnoughMemory) as caught:
        LLM.load(path, EngineConfig(context_length=2**31 - 256, flash_attention="on"))
    assert caught.value.needed > caught.value.available > 0
    assert dict(caught.value.parts)["context"] > 10**11


def test_a_context_beyond_the_training_is_refused(tiny: Path) -> None:
    with pytest.raises(InvalidRequest, match="trained on 512") as caught:
        LLM.load(tiny, EngineConfig(context_length=513))
    assert caught.value.param == "context_length"


@pytest.mark.parametrize(
    ("template", "reason"), [(None, "no chat template"), ("{% if %}", "does not compile: line 1")]
)
def test_a_model_that_cannot_chat_is_refused(
    tmp_path: Path, template: str | None, reason: str
) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf", chat_template=template)
    with pytest.raises(ModelLoadFailed, match=reason):
        LLM.load(path, SMALL)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        LLM.load(tmp_path / "none.gguf")


def test_an_llm_that_nobody_holds_closes_itself_but_not_before_its_stream_is_read(
    tiny: Path,
) -> None:
    def engines() -> int:
        return sum(thread.name == "engine" for thread in threading.enumerate())

    before = engines()
    stream = LLM.load(tiny, SMALL).stream(HELLO)
    gc.collect()
    assert len(list(stream)) > 1
    assert engines() == before + 1
    del stream
    gc.collect()
    assert engines() == before
