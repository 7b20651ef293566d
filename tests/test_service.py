"""The units for systemd: systemd has nothing to say against them, and serve knows what it is told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent / "scripts" / "deploy"
# The name that each is started by.
UNITS = {
    "mistral-small-edge.service": "mistral-small-edge.service",
    "mistral-small-edge@.service": "mistral-small-edge@8081.service",
    "mistral-small-edge-worker.service": "mistral-small-edge-worker.service",
}
SERVERS = [unit for unit in UNITS if "worker" not in unit]
MOST_EXPOSED = 20  # tenths, in systemd's own measure: 0 is shut, 100 is open
PROGRAM = "/opt/mistral-small-edge/.venv/bin/mistral-small-edge"
PATIENCE = 60  # seconds


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say(unit: str, tmp_path: Path) -> None:
    here = tmp_path / UNITS[unit]
    text = (DEPLOY / unit).read_text(encoding="utf-8")
    assert PROGRAM in text
    here.write_text(text.replace(PROGRAM, sys.executable), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", here],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    about_it = [line for line in done.stderr.splitlines() if "mistral-small-edge" in line]
    assert (done.returncode, about_it) == (0, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_a_worker_is_shut_in() -> None:
    """Whoever reaches it may run programs there, by its protocol's own account."""
    unit = DEPLOY / "mistral-small-edge-worker.service"
    subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit],
        stdout=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=True,
    )


def words_of(unit: str) -> list[str]:
    """What the program is told."""
    lines = (DEPLOY / unit).read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith("ExecStart=")]
    program, *words = line.removeprefix("ExecStart=").split()
    assert program == PROGRAM
    return words


def test_worker_takes_what_it_says() -> None:
    words = [*words_of("mistral-small-edge-worker.service"), "--memory", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "mistral_small_edge", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "--memory is 'none'" in done.stderr


@pytest.mark.parametrize("unit", SERVERS)
def test_serve_takes_what_it_says(unit: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("\n")
    told = " ".join(words_of(unit))
    words = told.replace("%d/keys", str(keys)).replace("%i", "8081").split()
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
