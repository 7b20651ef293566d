"""What was measured, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from mistral_small_edge.cli import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scripts.beside.figures import Row, Sample


def write_table(rows: Sequence[Row], ours: str) -> None:
    """A line for each figure: medians, how much better ours is, and the cores that others took."""
    others = list(dict.fromkeys(name for row in rows for name in row.ratios))
    columns = ["workload", "figure", "unit", ours]
    for other in others:
        columns += [other, "ratio"]
    console.write_table([*columns, "rounds", "others"], [_cells(row, ours, others) for row in rows])


def write_json(
    path: Path,
    facts: Mapping[str, object],
    options: Mapping[str, object],
    rows: Sequence[Row],
    samples: Sequence[Sample],
) -> None:
    """Everything, every round included."""
    document = {
        "machine": facts,
        "options": options,
        "medians": [asdict(row) for row in rows],
        "rounds": [asdict(sample) for sample in samples],
    }
    path.write_text(
        json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8"
    )


def _cells(row: Row, ours: str, others: Sequence[str]) -> list[str]:
    cells = [row.workload, row.figure.name, row.figure.unit, _readable(row.medians[ours])]
    for other in others:
        taking_part = other in row.ratios
        cells += (
            [_readable(row.medians[other]), f"{row.ratios[other]:.2f}"] if taking_part else ["", ""]
        )
    return [*cells, f"{row.rounds}/{row.all_rounds}", f"{row.busy:.2f}"]


def _readable(value: float) -> str:
    """Three digits that say something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
