"""Tab, asked as the shells ask: bash cuts words at `:` and `=`, the others do not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.machines import PRESETS
from mistral_small_edge.sessions import Shelf
from mistral_small_edge.store.catalog import Catalog
from tests.cli.test_app import HEAVY
from tests.sessions.talks import ANSWERED

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "mistral-small-edge"
PATIENCE = 60  # seconds
MODEL = "mistral-small-3.2"
BUILDS = [source.name for source in Catalog.load().entries[0].choices()]
QUANTS = [name.partition(":")[2] for name in BUILDS]
Q4 = [quant for quant in QUANTS if quant.startswith("Q4")]
NAMES = [entry.name for entry in Catalog.load().entries]
# What pip puts on the PATH, with a word at its end on what should not have been imported.
SCRIPT = f"""#!{sys.executable}
import atexit, sys
from mistral_small_edge.cli.app import main
atexit.register(lambda: sys.stderr.write("".join(set(sys.modules) & set({HEAVY}))))
main()
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bin") / PROGRAM
    file.write_text(SCRIPT)
    file.chmod(0o755)
    return file


def told(program: Path, **environment: str) -> list[str]:
    """What the program tells a shell, line by line; for that nothing heavy is imported."""
    done = subprocess.run(
        [program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env=os.environ | environment,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def in_bash(program: Path, *words: str) -> list[str]:
    """What is offered for the last of the words, cut as bash cuts them."""
    return told(
        program,
        _MISTRAL_SMALL_EDGE_COMPLETE="complete_bash",
        COMP_WORDS="\n".join((PROGRAM, *words)),
        COMP_CWORD=str(len(words)),
    )


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ask", "--model", "mis"), [MODEL, *BUILDS]),
        (("ask", "--model", ""), [*NAMES, *BUILDS]),
        (("ask", "-m", MODEL, ":"), QUANTS),
        (("ask", "-m", MODEL, ":", "Q4"), Q4),
        (("ask", "--model", "=", "to"), ["toy"]),
        (("ask", "--model", "="), [*NAMES, *BUILDS]),
        (("ask", "--model", "=", MODEL, ":", "Q4"), Q4),
        (("ask", "-m", MODEL, ":", "Q4_K_M", "--kv-type", "q"), ["q8_0", "q4_0"]),
        (("serve", "-m", "./models/to"), []),
        (("download", "to"), ["toy"]),
        (("models", "remove", MODEL, ":", "Q2"), ["Q2_K"]),
        (("plan", "--for", ""), ["list", *PRESETS]),
        (("mod",), ["models"]),
    ],
)
def test_bash(program: Path, words: tuple[str, ...], offered: list[str]) -> None:
    assert in_bash(program, *words) == offered


def test_a_colon_behind_nothing_is_no_harm(program: Path) -> None:
    assert "ask" in in_bash(program, ":")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_that_leave_words_whole(program: Path, shell: str) -> None:
    lines = told(
        program,
        _MISTRAL_SMALL_EDGE_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS=f"{PROGRAM} ask -m {MODEL}:Q4_K_",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert all(quant in "\n".join(lines) for quant in ("Q4_K_M", "Q4_K_S"))


@pytest.mark.parametrize("words", [("chat", "--session"), ("sessions", "show")])
def test_saved_conversations(
    program: Path, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_SMALL_EDGE_DATA", str(tmp_path))
    assert in_bash(program, *words, "") == []
    for name in ("invoices", "inventory", "poems"):
        with closing(Shelf(tmp_path).create(name)) as journal:
            journal.keep(ANSWERED)
    assert set(in_bash(program, *words, "inv")) == {"invoices", "inventory"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_takes_it(program: Path) -> None:
    script = """
        source <(_MISTRAL_SMALL_EDGE_COMPLETE=source_bash "$1")
        COMP_WORDS=("$1" ask -m mistral-small-3.2 : Q4_K_) COMP_CWORD=5
        "$(complete -p mistral-small-edge | sed 's/.*-F //; s/ .*//')" "$1"
        echo "${COMPREPLY[*]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.split() == ["Q4_K_M", "Q4_K_S"]
