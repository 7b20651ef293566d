"""How well a model sees, through the program's own way: the toy's held-out drawings, as PNG files.

    python -m scripts.vision_score --model toy --each 50

The drawings are those of the toy's card, which drives llama.cpp directly; here they are opened,
scaled, looked at and asked about as a user's pictures are.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from io import BytesIO
from random import Random
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import ChatRequest, ImagePart
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.images.sources import image_from
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.toy.evaluation import SIZES
from scripts.toy.tasks import PICTURE_TASKS, picture_example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.toy.drawings import Drawing
    from scripts.toy.tasks import Example

_SURE = SamplingParams(temperature=0, max_tokens=60)


def as_png(drawing: Drawing) -> bytes:
    """A drawing as a file."""
    buffer = BytesIO()
    drawing.picture.save(buffer, "PNG")
    return buffer.getvalue()


def scores(llm: LLM, each_size: int) -> dict[str, float]:
    """Which part of each task's answers is right to the last letter."""
    right: Counter[str] = Counter()
    for task in PICTURE_TASKS:
        right[task] = sum(
            llm.answer(_as_asked(example)).text == example.answer
            for example in _examples(task, each_size)
        )
    return {task: right[task] / (each_size * len(SIZES)) for task in PICTURE_TASKS}


def _examples(task: str, each_size: int) -> Iterator[Example]:
    for width, height in SIZES:
        # The evaluation's own seeds: never among the drawings of training.
        random = Random(f"held out: {task} {width}x{height}")
        yield from (picture_example(random, task, width, height) for _ in range(each_size))


def _as_asked(example: Example) -> ChatRequest:
    """The example with its picture opened as a user's would be."""
    assert example.drawing is not None  # noqa: S101 - every picture task has one
    image = ImagePart(image_from(as_png(example.drawing)))
    messages = tuple(
        replace(
            message,
            content=tuple(image if isinstance(part, ImagePart) else part for part in message.parts),
        )
        for message in example.request.messages
    )
    return ChatRequest(messages, _SURE)


def main() -> None:
    """Print a line for each task."""
    parser = argparse.ArgumentParser(description="How well a model sees the toy's drawings.")
    parser.add_argument("--model", default="toy")
    parser.add_argument("--each", type=int, default=50, help="drawings a task and size")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    config = EngineConfig(context_length=1024, threads=asked.threads)
    with LLM.load(asked.model, config) as llm:
        found = scores(llm, asked.each)
    for task, share in found.items():
        print(f"{task:15} {share:.3f}")  # noqa: T201 - a script
    print(f"{'all':15} {sum(found.values()) / len(found):.4f}")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
