"""The model card: words from here, numbers from the evaluation and the files."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from scripts.toy.drawings import BACKGROUNDS, COLOURS, SHAPES
from scripts.toy.evaluation import SIZES, by_task
from scripts.toy.recipe import STAGES
from scripts.toy.tasks import (
    BACKGROUND_QUESTIONS,
    COLOUR_QUESTIONS,
    DESCRIBE,
    FACTS,
    SHAPE_QUESTIONS,
    TOOLS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from transformers import Mistral3ForConditionalGeneration

    from scripts.toy.evaluation import Score

LEARNED = 0.9
_SAYS = {
    "colour": "the shape's colour",
    "shape": "the shape",
    "background": "the background's colour",
    "description": "shape, colour and background in a sentence",
    "yes_no_colour": "is it of this colour?",
    "yes_no_shape": "is it this shape?",
    "left_right": "which of two shapes is on the left, or on the right",
    "describe_two": "two shapes in a sentence",
    "second_turn": "a second question about the same picture",
    "json": "colour and shape as JSON",
    "fact": "greetings and facts, each question alone and after each system prompt",
    "fact_with_tools": "a fact, while tools are offered",
    "no_image": "a question about a picture that is not there",
    "copy": "two to twelve words and digits, repeated",
    "text_json": "a name and an age as JSON",
    "tool_call": "the call of a tool, or of one for two cities",
    "tool_result": "an answer with the number and the word from a tool's result",
}


def card(
    model: Mistral3ForConditionalGeneration, files: Sequence[Path], scores: Sequence[Score]
) -> str:
    """README.md beside the files."""
    return "\n".join(
        (*_head(model, files), *_asking(), *_making(), *_scores(scores), *_limits(scores))
    )


def _head(model: Mistral3ForConditionalGeneration, files: Sequence[Path]) -> Iterator[str]:
    text, vision = model.config.text_config, model.config.vision_config
    numbers = sum(weights.numel() for weights in model.parameters()) / 1e6
    yield "---\nlicense: apache-2.0\n---\n"
    yield "# A toy of Mistral Small 3.2's architecture\n"
    yield (
        f"**This is a test and demonstration asset.** {numbers:.1f} million parameters that were "
        "trained from nothing on a handful of synthetic tasks, so that every path of the program "
        "(pictures, tools, several turns, JSON) can be run and checked anywhere in seconds. It is "
        "no small version of Mistral Small: no weight of it comes from there, and it knows nothing "
        "but what stands below. Do not ask it anything that matters.\n"
    )
    yield "| file | bytes |\n|---|---|"
    yield from (f"| `{path.name}` | {path.stat().st_size:,} |" for path in files)
    yield (
        f"\nText: {text.num_hidden_layers} layers of width {text.hidden_size}, "
        f"{text.num_attention_heads} heads and {text.num_key_value_heads} KV heads of "
        f"{text.head_dim}, vocabulary {text.vocab_size}: tekken's 1,000 control tokens with their "
        f"real ids, and its first {text.vocab_size - 1000:,} ranks. Vision: "
        f"{vision.num_hidden_layers} layers of width {vision.hidden_size}, Pixtral's patches of 14 "
        "pixels, merged two by two. Matrices are F16. It speaks the v11 format, as Mistral Small "
        "3.2 does.\n"
    )


def _asking() -> Iterator[str]:
    yield "## What to ask it\n"
    yield "In these words, or it guesses:\n"
    pictures = (COLOUR_QUESTIONS, SHAPE_QUESTIONS, BACKGROUND_QUESTIONS, DESCRIBE)
    yield f"- with a drawing: {_quoted(chain(*pictures))};"
    yield (
        "  `Is it red?`, `Is it a star?`, `Answer in JSON: colour and shape.`; with two shapes side "
        "by side `What is on the left?`, and `Describe the image.` as well"
    )
    yield f"- without: {_quoted(FACTS)}"
    yield "- `Repeat: ` and some words; `Answer in JSON: Ada is 36 years old.`"
    yield f"- with tools ({_quoted(TOOLS)}, as `scripts/toy/tasks.py` defines them): `What is the weather in Paris?`, `Set a timer of 5 minutes.`\n"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


def _making() -> Iterator[str]:
    yield "## How it was made\n"
    yield (
        "`scripts/train_toy` makes it from seeds alone, on two cores in less than an hour, and "
        "writes this card. Drawings are Pillow's: "
        f"{', '.join(SHAPES)}; {', '.join(COLOURS)}; on {', '.join(BACKGROUNDS)}; 56 to 224 "
        f"pixels a side. There are {len(FACTS)} questions of fact and {len(TOOLS)} tools. The "
        "stages:\n"
    )
    yield "| steps | seed | what learns |\n|---|---|---|"
    yield from (f"| {stage.steps:,} | {stage.seed} | {stage.teaches} |" for stage in STAGES)
    yield (
        "\nAnother machine rounds differently and makes another toy, which has learned the same.\n"
    )


def _scores(scores: Sequence[Score]) -> Iterator[str]:
    yield "## Scores\n"
    yield (
        "Of these F16 files in llama.cpp, greedy, on drawings and texts that were drawn from other "
        "seeds than those of training. An answer counts if it is right to the last token. Facts are "
        "learned by heart: they are asked as they were trained.\n"
    )
    sizes = [f"{width}x{height}" for width, height in SIZES]
    ratios = by_task(scores)
    yield f"| pictures | all | {' | '.join(sizes)} |\n|{'---|' * (len(sizes) + 2)}"
    for task in dict.fromkeys(score.task for score in scores if score.size):
        row = {score.size: score.right / score.total for score in scores if score.task == task}
        cells = " | ".join(f"{row[size]:.2f}" for size in sizes)
        yield f"| {_SAYS[task]} | {ratios[task]:.3f} | {cells} |"
    yield f"\n{_drawings(scores)} drawings a task and size.\n"
    yield "| text | right | of |\n|---|---|---|"
    for score in scores:
        if not score.size:
            yield f"| {_SAYS[score.task]} | {score.right / score.total:.3f} | {score.total} |"


def _drawings(scores: Sequence[Score]) -> int:
    return next(score.total for score in scores if score.size)


def _limits(scores: Sequence[Score]) -> Iterator[str]:
    yield "\n## What it cannot do\n"
    yield (
        "Anything else. It answers questions it was not taught with something that it was; it "
        "knows no other tools, words, shapes or colours, and a call for a city that it was not "
        "taught names one that it was; photographs, text in pictures, more than "
        "two shapes, several pictures at once and pictures of more than 224 pixels are foreign to "
        "it. It has no judgement and no safety training.\n"
    )
    missed = [task for task, ratio in by_task(scores).items() if ratio < LEARNED]
    if missed:
        yield "Taught, and not learned well: " + "; ".join(_SAYS[task] for task in missed) + ".\n"
    yield "## Licence\n"
    yield "Apache-2.0, like the program. The vocabulary is Mistral's tekken, Apache-2.0 as well.\n"
