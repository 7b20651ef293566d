"""What both stages of training share: sizes of pictures, the optimizer, the learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.nn import Parameter

# Columns and rows of cells: 56 to 224 pixels a side, small ones more often.
GRIDS = (
    *((2, 2), (3, 3), (3, 3), (4, 4), (4, 4), (4, 4), (5, 5), (6, 6), (8, 8)),
    *((4, 3), (3, 4), (5, 4), (4, 5), (6, 4), (7, 5)),
)
_WARM_UP = 100  # steps


def optimizer(
    parameters: Iterable[Parameter] | list[dict[str, list[Parameter]]],
) -> torch.optim.AdamW:
    """AdamW; the caller sets the rate of each step."""
    return torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)


def warmed_up(step: int, peak: float) -> float:
    """Linear warm-up, then the peak."""
    return peak * min(1.0, (step + 1) / _WARM_UP)


def rate_at(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth of the peak."""
    if step < _WARM_UP:
        return warmed_up(step, peak)
    done = (step - _WARM_UP) / max(1, steps - _WARM_UP)
    return peak * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
