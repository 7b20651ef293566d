"""A plot is refused before anything is measured for it, or drawn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.benchmark import Depth, plot
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

DEPTHS = (
    Depth(position=0, read_from=0, prompt_seconds=None, decode_seconds=0.1, step_bytes=1e9),
    Depth(position=1024, read_from=1, prompt_seconds=0.01, decode_seconds=0.2, step_bytes=2e9),
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out", "must end in one of"),
        ("out.jpg", "must end in one of"),
        ("folder.png", "no place for a file"),
        ("nosuch/out.png", "no place for a file"),
    ],
)
def test_a_file_that_cannot_be_drawn_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InvalidRequest, match=reason) as caught:
        plot.check(tmp_path / name)
    assert caught.value.param == "plot"
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_without_matplotlib_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidRequest, match=r"pip install 'mistral-small-edge\[plot\]'"):
        plot.check(tmp_path / "out.png")


@pytest.mark.parametrize(
    ("suffix", "beginning"), [(".png", b"\x89PNG"), (".SVG", b"<?xml"), (".pdf", b"%PDF")]
)
def test_a_plot_is_a_picture(tmp_path: Path, suffix: str, beginning: bytes) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"out{suffix}"
    plot.check(path)
    plot.draw(path, "tiny", DEPTHS, 40e9)
    assert path.read_bytes().startswith(beginning)
    plot.check(path)  # it is written over


def test_a_place_that_has_gone_meanwhile_is_refused_in_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(InvalidRequest, match="cannot be written: No such file"):
        plot.draw(tmp_path / "gone" / "out.png", "tiny", DEPTHS, 40e9)
