"""Cost against context length, as a picture. The only place that knows matplotlib, which is an extra."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mistral_small_edge.benchmark.depths import Depth

FORMATS = (".pdf", ".png", ".svg")


def check(path: Path) -> None:
    """Refuse what could not be drawn, before anybody waits for what is to be drawn.

    Raises:
        InvalidRequest: the name is no picture's, the place takes no file, or matplotlib is not here.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidRequest(f"the plot {path} must end in one of {', '.join(FORMATS)}", "plot")
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidRequest(f"{path} cannot be written: it is no place for a file", "plot")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InvalidRequest(f"{path} cannot be written: permission denied", "plot")
    if find_spec("matplotlib") is None:
        raise InvalidRequest(
            "drawing needs matplotlib; install it: pip install 'mistral-small-edge[plot]'", "plot"
        )


def draw(path: Path, title: str, depths: Sequence[Depth], bandwidth: float) -> None:
    """Milliseconds a token over tokens of context, and the least that memory allows.

    Args:
        bandwidth: bytes a second.

    Raises:
        InvalidRequest: the file cannot be written after all.
    """
    from matplotlib.figure import Figure  # without pyplot nothing looks for a screen

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    at = [one.position for one in depths]
    axes.plot(at, [1e3 * one.decode_seconds for one in depths], marker="o", label="writing")
    least = [1e3 * one.step_bytes / bandwidth for one in depths]
    axes.plot(at, least, linestyle=":", color="gray", label="writing, if memory were all")
    # A stretch's mean is what a token costs in its middle: attention grows with the position.
    read = [
        ((one.read_from + one.position) / 2, 1e3 * one.prompt_seconds)
        for one in depths
        if one.prompt_seconds is not None
    ]
    axes.plot(*zip(*read, strict=True), marker="s", label="reading")
    axes.set(title=title, xlabel="tokens in the context", ylabel="ms a token")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path)
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be written: {error.strerror or error}", "plot"
        ) from None
