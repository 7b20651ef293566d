"""Many prompts at once: in order, a few ahead, each with its own error, and given up together."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.chat.messages import ChatRequest, Message, TextRequest
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import ContextLengthExceeded, EngineStopped, InvalidRequest
from mistral_small_edge.llm import LLM
from mistral_small_edge.llm.mapping import AHEAD, UNDER_WAY, Answers
from mistral_small_edge.sampling_params import SamplingParams
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mistral_small_edge.chat.deltas import ChatResponse
    from mistral_small_edge.llm import Stream
    from mistral_small_edge.llm.mapping import MapPrompt

SLOTS = 2
CONFIG = EngineConfig(context_length=256, max_sequences=SLOTS, threads=1)
SHORT = SamplingParams(temperature=0, max_tokens=4)
LONG = SamplingParams(temperature=0, max_tokens=150, ignore_eos=True)
TOO_LONG = "too long " * 100


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def llm(tiny: Path) -> Iterator[LLM]:
    with LLM.load(tiny, CONFIG) as llm:
        yield llm


def asked(text: str, sampling: SamplingParams = SHORT) -> ChatRequest:
    return ChatRequest((Message("user", text),), sampling)


def test_answers_come_in_order_and_are_what_they_are_alone(llm: LLM) -> None:
    lengths = (60, 1, 9, 1, 1, 30, 2, 1, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 20)
    requests = [
        asked(f"Question {number}", SamplingParams(temperature=0, max_tokens=most, ignore_eos=True))
        for number, most in enumerate(lengths)
    ]
    found = [answer.text for answer in llm.map(requests)]
    assert found == [llm.answer(request).text for request in requests]
    assert len(set(found)) > SLOTS


def test_whatever_asks_is_taken(llm: LLM) -> None:
    conversation = [Message("user", "One"), Message("assistant", "1"), Message("user", "Two")]
    alone = [llm.chat(prompt, system="S", sampling=SHORT) for prompt in ("One", conversation)]
    together = llm.map(["One", conversation], system="S", sampling=SHORT)
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    text = TextRequest("One two", SHORT)
    assert [one.text for one in llm.map([text])] == [llm.answer(text).text]
    assert list(llm.map([])) == []


def test_a_type_has_its_instances(llm: LLM) -> None:
    answers: list[bool] = list(llm.map(["Yes?", "No?"], response_format=bool, sampling=SHORT))
    assert {type(answer) for answer in answers} == {bool}
    assert answers == [
        llm.chat(text, response_format=bool, sampling=SHORT) for text in ("Yes?", "No?")
    ]


def test_prompts_are_taken_when_they_are_wanted(llm: LLM) -> None:
    """All of them would be infinitely many."""
    taken = count()
    prompts = (f"Question {next(taken)}" for _ in count())
    with llm.map(prompts, sampling=SHORT) as answers:
        assert next(taken) == 0  # none before the first answer is asked for
        for _ in range(5):
            next(answers)
    assert next(taken) <= 2 + 5 + AHEAD * SLOTS


def test_no_more_are_under_way_behind_a_long_one_than_may_be(llm: LLM) -> None:
    begun: list[Stream] = []

    def begin(prompt: MapPrompt) -> Stream:
        assert sum(not stream.ended for stream in begun) < UNDER_WAY * SLOTS
        begun.append(llm.stream(asked("Long", LONG) if not begun else asked(str(prompt))))
        return begun[-1]

    def as_it_is(answer: ChatResponse) -> ChatResponse:
        return answer

    with Answers(map(str, range(100)), begin, as_it_is, SLOTS) as answers:
        assert next(answers).usage.completion_tokens == LONG.max_tokens
        assert len(begun) <= AHEAD * SLOTS
    assert len(begun) < 100
    assert all(stream.ended for stream in begun)  # closed, those that were not read


def test_an_error_comes_in_its_turn_and_the_next_answer_after_it(llm: LLM) -> None:
    answers = llm.map([asked("One"), asked(TOO_LONG), asked("Three")])
    assert next(answers).text == llm.answer(asked("One")).text
    with pytest.raises(ContextLengthExceeded):
        next(answers)
    assert next(answers).text == llm.answer(asked("Three")).text
    with pytest.raises(StopIteration):
        next(answers)


@pytest.mark.parametrize("option", ["system", "sampling", "response_format"])
def test_a_whole_request_goes_with_no_option(llm: LLM, option: str) -> None:
    given = {"system": "S", "sampling": SHORT, "response_format": bool}
    with pytest.raises(InvalidRequest, match="brings its own") as caught:
        next(llm.map([asked("One")], **{option: given[option]}))  # type: ignore[call-overload]
    assert caught.value.param == option


def test_what_the_prompts_raise_comes_through(llm: LLM) -> None:
    def prompts() -> Iterator[str]:
        yield "One"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(llm.map(prompts(), sampling=SHORT))


def test_closed_it_gives_nothing_more(llm: LLM) -> None:
    answers = llm.map(["One", "Two"], sampling=SHORT)
    next(answers)
    answers.close()
    answers.close()
    assert list(answers) == []


def test_a_model_that_is_closed_meanwhile_is_an_error_for_every_answer(tiny: Path) -> None:
    llm = LLM.load(tiny, CONFIG)

    def prompts() -> Iterator[ChatRequest]:
        yield asked("One", LONG)
        yield asked("Two", LONG)
        llm.close()  # while these are computed
        yield asked("Three", LONG)

    answers = llm.map(prompts())
    for _ in range(3):
        with pytest.raises(EngineStopped):
            next(answers)
    assert list(answers) == []
