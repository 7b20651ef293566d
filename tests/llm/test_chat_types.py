"""`LLM.chat` with Python's own things: classes as answers, functions as tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest
from pydantic import BaseModel, Field

from mistral_small_edge.chat.tools import NamedTool, Tool
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import AnswerCutShort, InvalidGrammar, InvalidRequest
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.toy.tekken import Tekken
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator

WILD = SamplingParams(temperature=2, max_tokens=1200, seed=1)
TOOL_CALLS = 9


class Colour(BaseModel):
    name: Literal["red", "green"]
    share: int = Field(ge=0, le=100)


class Palette(BaseModel):
    colours: list[Colour] = Field(min_length=2, max_length=3)


@dataclass
class Point:
    x: int
    y: int


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    path = tmp_path_factory.mktemp("tiny") / "v11.gguf"
    write_tiny_model(path, chat_template=None, tekken=Tekken(), shape=TinyShape(context=2048))
    with LLM.load(path, EngineConfig(context_length=2048, threads=1)) as llm:
        yield llm


def test_a_class_is_answered_with_an_instance(llm: LLM) -> None:
    palette = llm.chat("Two colours.", response_format=Palette, sampling=WILD)
    assert isinstance(palette, Palette)
    assert 2 <= len(palette.colours) <= 3
    assert {colour.name for colour in palette.colours} <= {"red", "green"}


def test_other_types_are_answered_too(llm: LLM) -> None:
    few = SamplingParams(temperature=2, max_tokens=300, seed=3)
    assert isinstance(llm.chat("Where?", response_format=Point, sampling=few), Point)


def test_an_answer_that_is_cut_is_no_instance(llm: LLM) -> None:
    short = SamplingParams(temperature=0, max_tokens=5)
    with pytest.raises(AnswerCutShort) as caught:
        llm.chat("Two colours.", response_format=Palette, sampling=short)
    assert caught.value.completion_tokens == 5
    assert caught.value.text.startswith("{")


def test_what_no_grammar_can_hold_is_refused_before_anything_is_computed(llm: LLM) -> None:
    with pytest.raises(InvalidGrammar, match="uniqueItems"):
        llm.chat("Some.", response_format=set[int])


def test_functions_are_called_and_their_results_told(llm: LLM) -> None:
    final = llm.chat(
        "1 + 2?", tools=[add], tool_choice="required", parallel_tool_calls=False,
        run_tools=True, max_rounds=1, sampling=WILD,
    )  # fmt: skip
    assert [message.role for message in final.earlier] == ["assistant", "tool"]
    (call,) = final.earlier[0].tool_calls
    assert call.name == "add"
    assert final.earlier[1].tool_call_id == call.id
    assert not final.tool_calls
    assert final.text


def test_a_tool_loop_ends_in_an_instance(llm: LLM) -> None:
    palette = llm.chat(
        "Two colours.", tools=[add], run_tools=True, response_format=Palette,
        sampling=SamplingParams(seed=1, max_tokens=1200, logit_bias={TOOL_CALLS: -100}),
    )  # fmt: skip
    assert isinstance(palette, Palette)


def test_calls_are_returned_where_nobody_runs_them(llm: LLM) -> None:
    answer = llm.chat("1 + 2?", tools=[add], tool_choice=NamedTool("add"), sampling=WILD)
    assert answer.finish_reason == "tool_calls"
    assert answer.message.tool_calls[0].name == "add"


def test_what_cannot_be_run_is_refused_by_name(llm: LLM) -> None:
    with pytest.raises(InvalidRequest, match="wide") as caught:
        llm.chat("x", tools=[add, Tool("wide")], run_tools=True)
    assert caught.value.param == "tools"
    with pytest.raises(InvalidRequest, match="max_rounds"):
        llm.chat("x", tools=[add], run_tools=True, max_rounds=0)
    with pytest.raises(InvalidRequest, match="tools"):
        llm.chat("x", run_tools=True)
    with pytest.raises(InvalidRequest, match="run_tools"):
        llm.chat("x", tools=[add], response_format=Palette)
