"""A real model's answers in a batch: the same as alone, whatever is computed beside them."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mistral_small_edge.batch.requests import RequestFile
from mistral_small_edge.batch.run import run
from mistral_small_edge.sampling_params import SamplingParams
from tests.batch.lines import line, question

if TYPE_CHECKING:
    from mistral_small_edge.llm import LLM

pytestmark = pytest.mark.model

QUESTIONS = [
    "Name three colours.",
    "What is the capital of France? Answer in one word.",
    "Write a sentence about the sea.",
    "How many legs has a spider?",
]
SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": {"temperature": 1, "seed": 7},
}


def test_what_repeats_alone_repeats_in_a_batch(llm: LLM) -> None:
    asked = {
        f"{name} {number}": (text, {"max_tokens": 2 + 6 * (number % 3), **chosen})
        for number, text in enumerate(QUESTIONS)
        for name, chosen in SAMPLINGS.items()
    }
    lines = [
        line(name, question(text, model="demo", **more)) for name, (text, more) in asked.items()
    ]
    lines += [
        line(f"noise {at}", question("Hello", model="demo", temperature=1, max_tokens=9))
        for at in range(3)
    ]
    found: dict[str, Any] = {
        result.custom_id: result.body
        for result in run(llm, RequestFile(io.BytesIO("\n".join(lines).encode()), "requests.jsonl"))
    }
    assert len(found) == len(lines)
    for name, (text, more) in asked.items():
        alone = llm.chat(text, sampling=replace(llm.default_sampling, **more))
        assert found[name]["choices"][0]["message"]["content"] == alone.text, name


@pytest.mark.parametrize("chosen", SAMPLINGS)
def test_what_repeats_alone_repeats_in_a_map(llm: LLM, chosen: str) -> None:
    sampling = SamplingParams(max_tokens=8, **SAMPLINGS[chosen])
    together = [answer.text for answer in llm.map(QUESTIONS, sampling=sampling)]
    assert together == [llm.chat(text, sampling=sampling).text for text in QUESTIONS]
