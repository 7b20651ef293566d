"""How the real models are loaded by the tests: on an accelerator if `GPU_LAYERS` tells how many layers."""

from __future__ import annotations

import os
from typing import Any

from mistral_small_edge.config import EngineConfig

GPU_LAYERS = int(os.environ.get("GPU_LAYERS", "0"))


def engine_config(**options: Any) -> EngineConfig:
    """As EngineConfig."""
    return EngineConfig(gpu_layers=GPU_LAYERS, **options)
