"""The card tells the evaluation's numbers, and what was not reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch", reason="the extra `toy` is not installed")
pytest.importorskip("transformers", reason="the extra `toy` is not installed")

from scripts.toy.card import card
from scripts.toy.evaluation import SIZES, Score
from scripts.toy.network import new_model

if TYPE_CHECKING:
    from pathlib import Path


def told(file: Path, copied: int) -> str:
    file.write_bytes(b"1234")
    shown = [Score("colour", f"{width}x{height}", 49, 50) for width, height in SIZES]
    return card(new_model(0, layers=1), [file], [*shown, Score("copy", "", copied, 200)])


def test_numbers_come_from_the_scores(tmp_path: Path) -> None:
    text = told(tmp_path / "toy.gguf", copied=199)
    assert "| `toy.gguf` | 4 |" in text
    assert f"| the shape's colour | 0.980 |{' 0.98 |' * len(SIZES)}" in text
    assert "repeated | 0.995 | 200 |" in text
    assert "not learned well" not in text


def test_what_was_missed_is_told(tmp_path: Path) -> None:
    text = told(tmp_path / "toy.gguf", copied=80)
    assert "Taught, and not learned well: two to twelve words and digits, repeated." in text
