"""Scores of the exported files by task, on drawings and texts drawn from seeds of their own.

An answer counts if its ids are exactly the right ones, end included, decoded greedily by llama.cpp.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import ChatRequest, Message
from scripts.toy.tasks import (
    FACTS,
    PICTURE_TASKS,
    SYSTEM_PROMPTS,
    TEXT_TASKS,
    Example,
    picture_example,
    text_example,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from scripts.toy.runtime import Runtime

# Pixels; squares, and sides that are no multiples of a cell.
SIZES = ((84, 84), (112, 112), (121, 155), (140, 98), (168, 168), (199, 224), (224, 224))
EACH_SIZE = 50
EACH_TEXT = 200


@dataclass(frozen=True, slots=True)
class Score:
    """`size` is a picture's, as in 84x84, and empty for text."""

    task: str
    size: str
    right: int
    total: int


def evaluate(
    runtime: Runtime, each_size: int = EACH_SIZE, each_text: int = EACH_TEXT
) -> list[Score]:
    """Scores by task and size."""
    scores = []
    for task in PICTURE_TASKS:
        for width, height in SIZES:
            size = f"{width}x{height}"
            random = Random(f"held out: {task} {size}")
            shown = (picture_example(random, task, width, height) for _ in range(each_size))
            scores.append(_score(runtime, task, size, shown))
    scores.append(_score(runtime, "fact", "", _every_fact()))
    for task in TEXT_TASKS:
        if task != "fact":
            random = Random(f"held out: {task}")
            told = (text_example(random, task) for _ in range(each_text))
            scores.append(_score(runtime, task, "", told))
    return scores


def by_task(scores: Iterable[Score]) -> dict[str, float]:
    """Which part of each task's answers is right, over all sizes."""
    right, total = Counter[str](), Counter[str]()
    for score in scores:
        right[score.task] += score.right
        total[score.task] += score.total
    return {task: right[task] / total[task] for task in total}


def save(scores: list[Score], path: Path) -> None:
    """As JSON."""
    path.write_text(json.dumps([asdict(score) for score in scores], indent=1), encoding="utf-8")


def is_right(runtime: Runtime, example: Example) -> bool:
    """Whether the answer is exactly the example's."""
    picture = example.drawing.picture if example.drawing is not None else None
    right = runtime.encoder.answer(example)
    return runtime.answer(runtime.encoder.prompt(example), picture, most=len(right)) == right


def _score(runtime: Runtime, task: str, size: str, examples: Iterable[Example]) -> Score:
    results = [is_right(runtime, example) for example in examples]
    return Score(task, size, sum(results), len(results))


def _every_fact() -> Iterator[Example]:
    """Each question, alone and after each system prompt."""
    for question, answer in FACTS.items():
        for system in ("", *SYSTEM_PROMPTS):
            before = (Message("system", system),) if system else ()
            request = ChatRequest((*before, Message("user", question)))
            yield Example("fact", request, answer)
