"""The unit for systemd: systemd has nothing to say against it, and serve knows what it is told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "scripts" / "deploy" / "mistral-small-edge.service"
PROGRAM = "/opt/mistral-small-edge/.venv/bin/mistral-small-edge"
PATIENCE = 60  # seconds


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    assert PROGRAM in text
    here.write_text(text.replace(PROGRAM, sys.executable), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", here],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    about_it = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, about_it) == (0, [])


def test_serve_takes_what_it_says(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("\n")
    [line] = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart=")]
    program, *words = line.removeprefix("ExecStart=").replace("%d/keys", str(keys)).split()
    assert program == PROGRAM
    done = subprocess.run(
        [sys.executable, "-m", "mistral_small_edge", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    # The options are all known, and the first thing that is wrong is ours.
    assert done.returncode == 2
    assert f"{keys} holds no key" in done.stderr
