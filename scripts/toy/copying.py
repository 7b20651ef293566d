"""Next the memory: the language model alone learns to say again what it has read.

Random ids of the whole vocabulary stand before a mark and are to be repeated behind it. It takes
heads that look for what stood behind the same id before. Without them no number is ever carried
from a tool's result into an answer, and among other tasks they come late or never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.toy.encoding import BOS_ID, END_USER_ID, EOS_ID
from scripts.toy.network import hidden_states
from scripts.toy.schedule import optimizer, warmed_up
from scripts.toy.tekken import NUM_SPECIAL, TOY_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor
    from transformers import Mistral3ForConditionalGeneration

ROWS = 48
SHORTEST, LONGEST = 4, 23


def learn_copying(
    model: Mistral3ForConditionalGeneration,
    *,
    steps: int,
    seed: int,
    on_step: Callable[[int, float, float], None],
) -> None:
    """Train the language model in place; `on_step` is given accuracy and loss."""
    random = torch.Generator().manual_seed(seed)
    learning = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    adam = optimizer(learning)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = warmed_up(step, peak=3e-3)
        ids = _rows(random)
        length = ids.shape[1] // 2 - 1
        states = hidden_states(model, ids[:, :-1], None)[:, length + 1 :]
        scores, targets = model.lm_head(states).flatten(0, 1), ids[:, length + 2 :].flatten()
        loss = functional.cross_entropy(scores, targets)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        adam.step()
        on_step(step, float((scores.argmax(-1) == targets).float().mean()), float(loss.detach()))


def _rows(random: Generator) -> Tensor:
    """Beginning, ids, mark, the same ids, end; as many ids in every row."""
    length = int(torch.randint(SHORTEST, LONGEST + 1, (), generator=random))
    drawn = torch.randint(NUM_SPECIAL, TOY_SIZE, (ROWS, length), generator=random)
    marks = (torch.full((ROWS, 1), id_) for id_ in (BOS_ID, END_USER_ID, EOS_ID))
    first, middle, last = marks
    return torch.cat([first, drawn, middle, drawn, last], dim=1)
