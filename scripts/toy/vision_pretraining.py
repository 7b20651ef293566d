"""First the eyes: the vision tower and the projector, trained alone on throw-away heads.

From scratch and end to end, colours are learned and shapes stay at chance; so the picture's
features must say what is there before a language model is asked to speak of it. A head for the
whole picture reads shape, colour and background from the mean of the cells; a head for every cell
reads which half it lies in and which colour covers it, so that places can be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from scripts.toy.drawings import BACKGROUNDS, COLOURS, SHAPES, Drawing, draw, pixels
from scripts.toy.network import image_features
from scripts.toy.schedule import GRIDS, optimizer, rate_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from transformers import Mistral3ForConditionalGeneration

_COLOURS, _BACKGROUNDS = list(COLOURS), list(BACKGROUNDS)
_CLASSES = {"colour": len(COLOURS), "shape": len(SHAPES), "background": len(BACKGROUNDS)}


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures of one size, and what is true of each: of the left and of the right figure."""

    pixels: Tensor
    drawings: list[Drawing]

    def labels(self, what: str, half: int) -> Tensor:
        """Class numbers of one of _CLASSES, in the left (0) or right (1) half."""
        return torch.tensor([_label(drawing, what, half) for drawing in self.drawings])


def pretrain(
    model: Mistral3ForConditionalGeneration,
    *,
    steps: int,
    seed: int,
    on_step: Callable[[int, float, float], None],
) -> None:
    """Train the vision tower and the projector in place; `on_step` is given accuracy and loss."""
    torch.manual_seed(seed)
    random = Random(seed)
    width = model.config.text_config.hidden_size
    heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in _CLASSES.items()})
    heads["side"] = nn.Linear(width, 2)
    eyes = [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters()]
    adam = optimizer([*eyes, *heads.parameters()])
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate_at(step, steps, peak=2e-3)
        batch = draw_batch(random, count=32)
        loss, accuracy = _loss(model, heads, batch)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(eyes, 1.0)
        adam.step()
        on_step(step, accuracy, float(loss.detach()))


def draw_batch(random: Random, count: int) -> Batch:
    """Half of them with one figure, half with two; sizes that become one grid of cells."""
    columns, rows = random.choice(GRIDS)
    drawings = [
        draw(random, *odd_size(random, columns, rows), figures=random.choice((1, 2)))
        for _ in range(count)
    ]
    stacked = np.stack([pixels(drawing.picture) for drawing in drawings])
    return Batch(torch.from_numpy(stacked), drawings)


def odd_size(random: Random, columns: int, rows: int) -> tuple[int, int]:
    """Pixels that round up to the grid, often not exactly."""
    if random.random() < 0.5:
        return 28 * columns, 28 * rows
    return 28 * columns - random.randint(0, 20), 28 * rows - random.randint(0, 20)


def _loss(
    model: Mistral3ForConditionalGeneration, heads: nn.ModuleDict, batch: Batch
) -> tuple[Tensor, float]:
    features = image_features(model, batch.pixels)
    columns = batch.pixels.shape[-1] // 28
    across = torch.arange(features.shape[1]) % columns
    halves = (across < columns // 2, across >= (columns + 1) // 2)
    side = (across >= columns / 2).long().expand(features.shape[:2])
    loss = functional.cross_entropy(heads["side"](features).flatten(0, 1), side.flatten())
    right = []
    for half, cells in enumerate(halves):
        seen = features[:, cells].mean(1)
        whole = features.mean(1)
        single = torch.tensor([len(drawing.figures) == 1 for drawing in batch.drawings])
        pooled = torch.where(single.unsqueeze(-1), whole, seen)
        for what in _CLASSES:
            scores, labels = heads[what](pooled), batch.labels(what, half)
            loss = loss + functional.cross_entropy(scores, labels)
            right.append((scores.argmax(-1) == labels).float().mean())
    return loss, float(torch.stack(right).mean())


def _label(drawing: Drawing, what: str, half: int) -> int:
    figure = drawing.figures[min(half, len(drawing.figures) - 1)]
    if what == "colour":
        return _COLOURS.index(figure.colour)
    if what == "shape":
        return SHAPES.index(figure.shape)
    return _BACKGROUNDS.index(drawing.background)
