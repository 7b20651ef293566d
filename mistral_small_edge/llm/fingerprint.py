"""A mark of everything that a seeded answer depends on besides the request."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mistral_small_edge.llama.model import ModelOptions

_HEAD = 1 << 20  # bytes of each file: its metadata, and the first tensors


def fingerprint(parts: Sequence[Path], options: ModelOptions) -> str:
    """`fp_` and twelve digits: the file, the build, the kind of processor, how it is computed.

    A whole 14 GB file is not read for it: two files that differ have other heads or sizes.
    """
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            digest.update(file.read(_HEAD))
        digest.update(str(part.stat().st_size).encode())
    build = (version("mistral-small-edge"), version("llama-cpp-python"), platform.machine())
    computed = (options.kv_type, options.flash_attention, options.gpu_layers)
    digest.update(repr((build, computed)).encode())
    return f"fp_{digest.hexdigest()[:12]}"
