"""Writes tiny projectors with random weights: real enough for llama.cpp to look at a picture with.

The keys, names and dimensions of Mistral Small's own projector, a layer or two of width 32, some
100 kB a file. The same arguments give the same bytes. What comes of a picture is noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.synthetic.projector import ProjectorShape, projector_tensors, projector_writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gguf import GGUFWriter


def write_tiny_projector(
    path: Path,
    *,
    projection_dim: int = 64,
    width: int = 32,
    heads: int = 2,
    hidden: int = 48,
    layers: int = 1,
    edit: Callable[[GGUFWriter], object] | None = None,
    seed: int = 0,
) -> Path:
    """Write a projector to `path` and return it.

    Args:
        projection_dim: width of the language model that it is for; 64 fits tiny_gguf's.
        heads: each takes a multiple of 4 of the `width`.
        edit: changes the writer's keys (`kv_data`) and tensors before they are written, to make
            a file that is wrong in one particular way.
    """
    shape = ProjectorShape(
        layers=layers, width=width, heads=heads, hidden=hidden, projection_dim=projection_dim
    )
    writer = projector_writer(path, shape)
    for name, values in projector_tensors(shape, seed):
        writer.add_tensor(name, values)
    if edit is not None:
        edit(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
