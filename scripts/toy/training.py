"""Then the tongue: the language model on every task in text, and last everything on all of them.

Only the answers are learned, not the questions. A batch is one thread's work: operations are too
small to be divided, and their parts wait for each other where the cores are shared.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.toy.batches import IGNORED, SHORT, WITH_TOOLS, picture_batch, text_batches
from scripts.toy.network import hidden_states
from scripts.toy.schedule import optimizer, rate_at, warmed_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.nn import Parameter
    from transformers import Mistral3ForConditionalGeneration

    from scripts.toy.batches import Batch
    from scripts.toy.encoding import Encoder

    OnStep = Callable[[int, dict[str, float]], None]

THREADS = 2


@dataclass(frozen=True, slots=True)
class _Group:
    """Parameters that learn at one rate, by the step."""

    parameters: list[Parameter]
    rate: Callable[[int], float]


def learn_texts(
    model: Mistral3ForConditionalGeneration,
    encoder: Encoder,
    *,
    steps: int,
    seed: int,
    on_step: OnStep,
) -> None:
    """Train the language model in place; `on_step` is given the losses by kind of batch."""
    random = Random(seed)
    short = text_batches(random, encoder, SHORT, rows=32)
    with_tools = text_batches(random, encoder, WITH_TOOLS, rows=12)

    def draw(_: int) -> list[tuple[str, Batch]]:
        return [("tools", next(with_tools)), ("short", next(short))]

    tongue = _Group(_tongue(model), lambda step: warmed_up(step, peak=2e-3))
    _descend(model, [tongue], draw, steps, on_step)


def learn_everything(
    model: Mistral3ForConditionalGeneration,
    encoder: Encoder,
    *,
    steps: int,
    seed: int,
    on_step: OnStep,
) -> None:
    """Train everything in place; `on_step` is given the losses by kind of batch.

    The eyes are left alone until the tongue makes sense of them, and follow slowly then: else they
    forget the shapes within the first hundred steps.
    """
    random = Random(seed)
    short = text_batches(random, encoder, SHORT, rows=32)
    with_tools = text_batches(random, encoder, WITH_TOOLS, rows=12)

    def draw(step: int) -> list[tuple[str, Batch]]:
        text = ("tools", next(with_tools)) if step % 2 else ("short", next(short))
        return [text, *(("pictures", picture_batch(random, encoder)) for _ in range(3))]

    asleep = steps // 6
    tongue = _Group(_tongue(model), lambda step: rate_at(step, steps, peak=2e-3))
    eyes = _Group(
        [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters()],
        lambda step: 0.0 if step < asleep else rate_at(step - asleep, steps - asleep, peak=3e-4),
    )
    _descend(model, [tongue, eyes], draw, steps, on_step)


def _tongue(model: Mistral3ForConditionalGeneration) -> list[Parameter]:
    return [*model.model.language_model.parameters(), *model.lm_head.parameters()]


def _descend(
    model: Mistral3ForConditionalGeneration,
    groups: list[_Group],
    draw: Callable[[int], list[tuple[str, Batch]]],
    steps: int,
    on_step: OnStep,
) -> None:
    """Add up the gradients of what is drawn for a step, and take the step."""
    adam = optimizer([{"params": group.parameters} for group in groups])
    parameters = [parameter for group in groups for parameter in group.parameters]
    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for step in range(steps):
            for group, theirs in zip(groups, adam.param_groups, strict=True):
                theirs["lr"] = group.rate(step)
            adam.zero_grad()
            batches = draw(step)
            learned = pool.map(lambda batch: _gradients(model, parameters, batch[1]), batches)
            losses: dict[str, list[float]] = {}
            for (kind, _), (loss, gradients) in zip(batches, learned, strict=True):
                losses.setdefault(kind, []).append(loss)
                _add(parameters, gradients)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            adam.step()
            on_step(step, {kind: fmean(each) for kind, each in losses.items()})


def _gradients(
    model: Mistral3ForConditionalGeneration, parameters: list[Parameter], batch: Batch
) -> tuple[float, tuple[Tensor | None, ...]]:
    """The loss, and its gradient by each parameter that has a part in it."""
    states = hidden_states(model, batch.ids, batch.pixels)
    learned = batch.targets != IGNORED
    # The output matrix is most of the work, and only answers need it.
    loss = functional.cross_entropy(model.lm_head(states[learned]), batch.targets[learned])
    return float(loss.detach()), torch.autograd.grad(loss, parameters, allow_unused=True)


def _add(parameters: list[Parameter], gradients: tuple[Tensor | None, ...]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
