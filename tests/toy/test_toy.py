"""The committed toy: what its card promises, on a small sample. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from mistral_small_edge.gguf.header import read_header
from scripts.toy.evaluation import by_task, evaluate
from scripts.toy.runtime import loaded
from scripts.toy.tasks import picture_example

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(__file__).parent.parent.parent / "models" / "toy"
MODEL = FOLDER / "mistral-small-edge-toy-f16.gguf"
PROJECTOR = FOLDER / "mmproj-mistral-small-edge-toy-f16.gguf"
# Lower than the card's: a sample is small.
LEAST = {
    "colour": 0.93,
    "shape": 0.85,
    "description": 0.8,
    "yes_no_colour": 0.9,
    "fact": 1.0,
    "tool_call": 0.9,
}


@pytest.fixture(scope="module")
def scores() -> Iterator[Mapping[str, float]]:
    with loaded(MODEL, PROJECTOR) as runtime:
        yield by_task(evaluate(runtime, each_size=5, each_text=25))


@pytest.mark.parametrize("task", LEAST)
def test_it_knows_what_the_card_says(scores: Mapping[str, float], task: str) -> None:
    assert scores[task] >= LEAST[task]


def test_marks_that_do_not_fit_the_picture_are_refused() -> None:
    picture = Image.new("RGB", (84, 56))
    prompt = [1, 3, *(10, 10, 12, 10, 10), 13, 4]
    with (
        loaded(MODEL, PROJECTOR) as runtime,
        pytest.raises(RuntimeError, match="does not take 5 marks"),
    ):
        runtime.logits(prompt, picture)


def test_the_files_are_small_and_of_the_true_architecture() -> None:
    header = read_header(MODEL)
    assert (header.architecture, header.quantization) == ("mistral3", "F16")
    assert header.context_length == 131_072
    assert header.chat_template is None
    assert MODEL.stat().st_size + PROJECTOR.stat().st_size < 6_500_000


def test_the_card_is_of_these_files() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "test and demonstration asset" in card
    for path in (MODEL, PROJECTOR):
        assert f"| `{path.name}` | {path.stat().st_size:,} |" in card


def test_a_picture_is_read_the_same_whatever_was_in_memory() -> None:
    """llama.cpp takes the breaks between a picture's rows from memory as it finds it."""
    example = picture_example(Random("breaks"), "description", 121, 155)
    assert example.drawing is not None
    numbers = np.random.default_rng(0)
    logits = []
    for _ in range(20):
        sizes = numbers.integers(1_000, 3_000_000, 20)
        garbage = [np.full(int(size), np.nan, np.float32) for size in sizes]
        del garbage
        with loaded(MODEL, PROJECTOR) as runtime:
            prompt = runtime.encoder.prompt(example)
            logits.append(runtime.logits(prompt, example.drawing.picture))
    assert all(np.array_equal(one, logits[0]) for one in logits)
