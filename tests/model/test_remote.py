"""The toy behind a server: what it sees and says there is what it sees and says here."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.chat.deltas import ImageProgress
from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextPart
from mistral_small_edge.images.sources import image_from
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.toy.drawings import draw
from scripts.toy.tasks import TOOLS
from scripts.vision_score import as_png
from tests.model.config import engine_config
from tests.server.live import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.llm import RemoteLLM

pytestmark = pytest.mark.model

SEEDED = SamplingParams(temperature=1, seed=3, max_tokens=24)


@pytest.fixture(scope="module")
def toy() -> Iterator[LLM]:
    with LLM.load("toy", engine_config(context_length=2048, max_sequences=2, threads=1)) as llm:
        yield llm


@pytest.fixture(scope="module")
def remote(toy: LLM) -> Iterator[RemoteLLM]:
    with serving(toy) as url, LLM.connect(url) as remote:
        yield remote


@pytest.mark.parametrize("size", [(168, 140), (333, 57), (1700, 90)])
def test_a_picture_is_the_same_prompt(toy: LLM, remote: RemoteLLM, size: tuple[int, int]) -> None:
    shown = image_from(as_png(draw(random.Random("remote"), *size)))
    question = Message("user", (ImagePart(shown), TextPart("What is this?")))
    request = ChatRequest((question,), SEEDED)
    with remote.stream(request) as stream:
        assert ImageProgress in {type(delta) for delta in stream}
    there, here = remote.answer(request), toy.answer(request)
    assert there.text == here.text
    # The rows that the one left are those that the other needs: ids, picture and all.
    assert there.usage.cached_tokens == here.usage.cached_tokens == here.usage.prompt_tokens


def test_pictures_by_their_files_are_looked_at_as_here(toy: LLM, remote: RemoteLLM) -> None:
    png = as_png(draw(random.Random("file"), 200, 90))
    answers = [
        llm.chat("What is this?", images=[png], image_detail="low", sampling=SEEDED)
        for llm in (toy, remote)
    ]
    assert answers[0].text == answers[1].text


def test_tools_are_called_as_here(toy: LLM, remote: RemoteLLM) -> None:
    sure = replace(SEEDED, temperature=0, max_tokens=60)
    asked = [
        llm.chat("What is the weather in Oslo?", tools=[TOOLS["get_weather"]], sampling=sure)
        for llm in (toy, remote)
    ]
    assert asked[0].tool_calls == asked[1].tool_calls != ()
    assert asked[1].finish_reason == "tool_calls"
