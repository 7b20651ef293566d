"""A mark of everything that a seeded answer depends on besides the request."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mistral_small_edge.engine.backend import RowClasses
    from mistral_small_edge.llama.model import ModelOptions

_HEAD = 1 << 20  # bytes of each file: its metadata, and the first tensors


def fingerprint(parts: Sequence[Path], options: ModelOptions) -> str:
    """`fp_` and twelve digits: the files, the build, the kind of processor, how it is computed."""
    digest = _of_files(parts)
    computed = (options.kv_type, options.flash_attention, options.gpu_layers, options.repack)
    elsewhere = tuple(share.layers for share in options.workers)
    digest.update(repr((_build(), computed, *elsewhere)).encode())
    return f"fp_{digest.hexdigest()[:12]}"


def fingerprint_of_answers(mark: str, *decided_by: object) -> str:
    """The same with what was found by trying: it decides which rows are computed together."""
    return f"fp_{hashlib.sha256(repr((mark, decided_by)).encode()).hexdigest()[:12]}"


def fingerprint_of_rows(mark: str, classes: RowClasses) -> str:
    """The same with what tells which rows of a prompt count as read alike: those that are kept are believed."""
    chunks = (classes.min_prefill_rows, classes.multiple, classes.grid)
    return fingerprint_of_answers(mark, chunks)


def fingerprint_of_files(parts: Sequence[Path]) -> str:
    """The same of the files alone, whatever computes them."""
    return _of_files(parts).hexdigest()


def fingerprint_of_sight(projector: Path, options: ModelOptions) -> str:
    """The same for what a picture becomes: of the text model's options only what computes it matters."""
    digest = _of_files([projector])
    digest.update(repr((_build(), options.gpu_layers > 0)).encode())
    return digest.hexdigest()


def _of_files(parts: Sequence[Path]) -> hashlib._Hash:
    """A whole 14 GB file is not read for it: two files that differ have other heads or sizes."""
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            digest.update(file.read(_HEAD))
        digest.update(str(part.stat().st_size).encode())
    return digest


def _build() -> tuple[str, str, str]:
    return (version("mistral-small-edge"), version("llama-cpp-python"), platform.machine())
