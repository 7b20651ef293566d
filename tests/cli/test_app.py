"""The program as a whole: help is quick, every error has a face, every command an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mistral_small_edge import errors
from mistral_small_edge.cli.commands import NAMES
from mistral_small_edge.cli.failures import FACES, face_of, hint_for

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAVY = ("llama_cpp", "numpy", "huggingface_hub", "rich", "prompt_toolkit", "gguf", "jinja2")
SAMPLES: list[errors.EdgeError] = [
    errors.InvalidRequest("x is 1", "x"),
    errors.InvalidGrammar("x is 1", "x"),
    errors.ContextLengthExceeded(10, 5),
    errors.ModelNotFound("x", ["y"]),
    errors.HubUnreachable("hub", "no route"),
    errors.AccessDenied("hub", "401"),
    errors.NotOnHub("hub", "404"),
    errors.NotCached("x", "not here"),
    errors.DiskFull("x", 2 * 10**9, 10**6, Path("somewhere")),
    errors.ChecksumMismatch(Path("x"), "a" * 64, "b" * 64),
    errors.NotEnoughMemory(2, 1, [("weights", 2)]),
    errors.NotEnoughTogether(5, 3, [("this machine", 2, 1), ("10.0.0.2:50052", 2, 1)]),
    errors.ModelLoadFailed(Path("x"), "no GGUF"),
    errors.SessionNotFound("mine", ["yours"]),
    errors.SessionNotFound(""),
    errors.SessionInUse("mine"),
    errors.SessionDamaged(Path("x"), 3, "no JSON"),
    errors.SessionUnreachable(Path("x"), "the disk is full"),
    errors.ResultsNotKept(Path("x"), "the disk is full"),
    errors.EngineStopped(),
    errors.DecodeFailed(-1, 3),
]


def leaves(root: type[errors.EdgeError]) -> Iterator[type[errors.EdgeError]]:
    children = root.__subclasses__()
    if not children:
        yield root
    for child in children:
        yield from leaves(child)


def test_every_error_that_can_be_raised_has_a_row_of_its_own() -> None:
    assert set(leaves(errors.EdgeError)) <= set(FACES)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_every_hint_can_be_filled_in(error: errors.EdgeError) -> None:
    assert "{" not in hint_for(error)
    assert "\n" not in str(error)
    assert face_of(error).exit_code in (1, 2)


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_the_command_line_is_there_without_anything_heavy() -> None:
    code = (
        f"import mistral_small_edge.cli.app, sys; print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert run("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_command_imports_no_other(name: str) -> None:
    code = f"""
import sys
from mistral_small_edge.cli.app import app
app({[name, "--help"]!r}, standalone_mode=False)
print([other for other in {NAMES} if f"mistral_small_edge.cli.{{other}}" in sys.modules])
"""
    told = run("-c", code).stdout
    assert told.startswith(f"Usage: -c {name} [OPTIONS]")
    assert told.splitlines()[-1] == f"['{name}']"


def test_importing_the_package_costs_nothing() -> None:
    code = "import mistral_small_edge, sys; print([m for m in sys.modules if 'mistral' in m])"
    assert run("-c", code).stdout == "['mistral_small_edge']\n"


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["--version"], 0), ([], 2), (["nosuch"], 2)]
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    assert run("-m", "mistral_small_edge", *arguments).returncode == code
