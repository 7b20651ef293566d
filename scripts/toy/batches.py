"""Batches of examples as ids, and as pixels where there are pictures.

A batch holds short texts, texts with tools, or pictures of one size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from scripts.toy.drawings import pixels
from scripts.toy.network import PAD_TOKEN
from scripts.toy.schedule import GRIDS
from scripts.toy.tasks import Example, picture_example, text_example
from scripts.toy.vision_pretraining import odd_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from torch import Tensor

    from scripts.toy.encoding import Encoder

# Task -> how often among its kind.
SHORT = {"fact": 5, "copy": 6, "no_image": 1, "text_json": 2}
WITH_TOOLS = {"tool_call": 5, "tool_result": 6, "fact_with_tools": 1}
PICTURES = {
    "colour": 2,
    "shape": 4,
    "background": 1,
    "description": 4,
    "yes_no_colour": 2,
    "yes_no_shape": 3,
    "left_right": 4,
    "describe_two": 3,
    "second_turn": 1,
    "json": 1,
}
IGNORED = -100  # a target that is not to be learned
_Pair = tuple[list[int], list[int]]  # a prompt and its answer, in ids


@dataclass(frozen=True, slots=True)
class Batch:
    """ids and targets: (examples, length); a target is the next id where it is to be learned."""

    ids: Tensor
    targets: Tensor
    pixels: Tensor | None


def text_batches(
    random: Random, encoder: Encoder, weights: dict[str, int], rows: int
) -> Iterator[Batch]:
    """Texts without end, those of like length together: pads cost as much as words."""
    while True:
        examples = [text_example(random, _drawn(random, weights)) for _ in range(8 * rows)]
        pairs = sorted((_encoded(one, encoder) for one in examples), key=_length)
        parts = [pairs[at : at + rows] for at in range(0, len(pairs), rows)]
        random.shuffle(parts)
        for part in parts:
            yield _batch(part)


def picture_batch(random: Random, encoder: Encoder) -> Batch:
    """Pictures of one grid."""
    columns, rows = random.choice(GRIDS)
    count = 16 if columns * rows <= 30 else 12
    examples = [
        picture_example(random, _drawn(random, PICTURES), *odd_size(random, columns, rows))
        for _ in range(count)
    ]
    drawn = [pixels(one.drawing.picture) for one in examples if one.drawing is not None]
    pairs = [_encoded(one, encoder) for one in examples]
    return _batch(pairs, torch.from_numpy(np.stack(drawn)))


def _encoded(example: Example, encoder: Encoder) -> _Pair:
    return encoder.prompt(example), encoder.answer(example)


def _length(pair: _Pair) -> int:
    return len(pair[0]) + len(pair[1])


def _batch(pairs: Sequence[_Pair], pixels: Tensor | None = None) -> Batch:
    length = max(map(_length, pairs)) - 1
    ids = np.full((len(pairs), length), PAD_TOKEN, np.int64)
    targets = np.full((len(pairs), length), IGNORED, np.int64)
    for row, (prompt, answer) in enumerate(pairs):
        whole = prompt + answer
        ids[row, : len(whole) - 1] = whole[:-1]
        targets[row, len(prompt) - 1 : len(whole) - 1] = answer
    return Batch(torch.from_numpy(ids), torch.from_numpy(targets), pixels)


def _drawn(random: Random, weights: dict[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]
