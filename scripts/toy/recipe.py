"""The recipe: stages on one network, each kept in a file, so that an interrupted run goes on.

Seeds, steps and order are all here. Torch does not add alike on every machine, so another machine
makes another toy: one that has learned the same.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scripts.toy.copying import learn_copying
from scripts.toy.network import new_model
from scripts.toy.training import learn_everything, learn_texts
from scripts.toy.vision_pretraining import pretrain

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import Mistral3ForConditionalGeneration

    from scripts.toy.encoding import Encoder

SEED = 1
_EVERY = 100  # steps, between two lines in the log

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """`steps` from `seed`, and what they teach, in the card's words."""

    name: str
    steps: int
    seed: int
    teaches: str


EYES = Stage("eyes", 2500, 1, "the vision tower and the projector alone, on throw-away heads")
EYES_AGAIN = Stage("eyes-again", 3000, 2, "the same again, on new heads")
COPYING = Stage("copying", 1200, 2, "the language model alone, repeating random ids")
TEXTS = Stage("texts", 1000, 3, "the language model alone, on all tasks without pictures")
EVERYTHING = Stage("everything", 2200, 4, "the whole network, on all tasks")
STAGES = (EYES, EYES_AGAIN, COPYING, TEXTS, EVERYTHING)


def trained(work: Path, encoder: Encoder) -> Mistral3ForConditionalGeneration:
    """The trained network; stages that `work` already holds are not run again."""
    torch.set_num_threads(1)  # operations are small; see training.py
    model = new_model(SEED)
    for stage in STAGES:
        kept = work / f"{stage.name}.pt"
        if kept.exists():
            model.load_state_dict(torch.load(kept, weights_only=True))
        else:
            _learn(stage, model, encoder)
            torch.save(model.state_dict(), kept)
    return model.eval()


def _learn(stage: Stage, model: Mistral3ForConditionalGeneration, encoder: Encoder) -> None:
    progress = _Progress(stage)
    if stage in (TEXTS, EVERYTHING):
        learn = learn_texts if stage == TEXTS else learn_everything
        learn(model, encoder, steps=stage.steps, seed=stage.seed, on_step=progress.losses)
    else:
        learn_alone = learn_copying if stage == COPYING else pretrain
        learn_alone(model, steps=stage.steps, seed=stage.seed, on_step=progress.accuracy)


class _Progress:
    """Tells the running mean of what is measured at each step."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._started = time.monotonic()
        self._means: dict[str, float] = {}

    def accuracy(self, step: int, right: float, loss: float) -> None:
        self.losses(step, {"right": right, "loss": loss})

    def losses(self, step: int, measured: dict[str, float]) -> None:
        for name, value in measured.items():
            self._means[name] = 0.98 * self._means.get(name, value) + 0.02 * value
        if step % _EVERY and step + 1 != self._stage.steps:
            return
        means = ", ".join(f"{name} {value:.3f}" for name, value in self._means.items())
        seconds = time.monotonic() - self._started
        _log.info(
            "%s %d of %d, %.0f s: %s", self._stage.name, step, self._stage.steps, seconds, means
        )
