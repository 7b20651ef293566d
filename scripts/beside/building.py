"""llama-server, built from the llama.cpp that the bindings carry: the same source, the same kernels.

The source archive comes from the package index by pip, so whatever pip is told about indexes
holds here too. Everything lives in .venv/llama-server; a stamp, written last, says what it is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.beside.errors import CompareFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parent.parent.parent
_PACKAGE = "llama-cpp-python"
_OPTIONS = (
    *("-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_SERVER=ON"),
    *("-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_BUILD_TESTS=OFF"),
    *("-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_OPENSSL=OFF"),
)
_NEEDED = """
log=/dev/null
. scripts/needs.sh
need_compiler
if ! cmake --version >/dev/null 2>&1; then
    die "llama-server is built with cmake and there is none: $(remedy cmake)"
fi
"""
_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Build:
    """A place where llama-server is, or will be."""

    root: Path

    @property
    def home(self) -> Path:
        """All of it."""
        return self.root / ".venv" / "llama-server"

    @property
    def binary(self) -> Path:
        """The program."""
        return self.home / "build" / "bin" / "llama-server"

    @property
    def requirement(self) -> str:
        """The bindings, as pyproject.toml pins them."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))
        pins: list[str] = project["project"]["dependencies"]
        return next(pin for pin in pins if pin.startswith(f"{_PACKAGE}=="))

    @property
    def options(self) -> list[str]:
        """What cmake is told: as the bindings were built, where they were built in a way of their own."""
        file = self.root / ".venv" / ".build"
        own = shlex.split(file.read_text())[1:] if file.exists() else []
        return [*_OPTIONS, *own]

    @property
    def is_done(self) -> bool:
        """Whether it is there, and of this source and these options."""
        stamp = self.home / "built"
        return self.binary.exists() and stamp.exists() and stamp.read_text() == self._stamp()

    def mark_done(self) -> None:
        """Say so; the last act of a build."""
        (self.home / "built").write_text(self._stamp())

    def _stamp(self) -> str:
        return "\n".join([self.requirement, *self.options])


def built_llama_server(
    build: Build, note: Callable[[str], None], python: str = sys.executable
) -> Path:
    """The program, built now if it is not there yet.

    Args:
        python: the interpreter whose pip fetches the source.

    Raises:
        CompareFailed: something is missing for it, or a step went wrong.
    """
    if build.is_done:
        return build.binary
    need(build.root)
    note(
        f"Building llama-server from the source of {build.requirement}, once: it takes about 10 "
        f"minutes on two cores. The log is {build.home / 'log'}."
    )
    shutil.rmtree(build.home, ignore_errors=True)
    source = build.home / "source"
    source.mkdir(parents=True)
    for what, command in steps(build, source, python):
        _run(what, command, build.home / "log")
    shutil.rmtree(source)
    build.mark_done()
    return build.binary


def need(root: Path) -> None:
    """See that there is what a build needs.

    Raises:
        CompareFailed: there is not; it says how to get it.
    """
    done = subprocess.run(  # noqa: S603 - a fixed text
        ["bash", "-c", _NEEDED],  # noqa: S607 - scripts/compare runs in it
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CompareFailed(
            f"{done.stderr.strip()}; or name a llama-server that is there with --llama-server"
        )


def steps(
    build: Build, source: Path, python: str = sys.executable
) -> list[tuple[str, Sequence[str | Path]]]:
    """What is done, in order: what it is called when it fails, and the command."""
    pip = [python, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    archive = f"{build.requirement.replace('-', '_').replace('==', '-')}.tar.gz"
    jobs = str(os.cpu_count() or 1)
    tree = build.binary.parent.parent
    return [
        (
            f"fetching {build.requirement}",
            [*pip, "--no-input", "--no-deps", "--no-binary", _PACKAGE, "-d", source, build.requirement],
        ),
        ("unpacking", ["tar", "-xzf", source / archive, "-C", source, "--strip-components=1"]),
        (
            "cmake",
            ["cmake", "-S", source / "vendor" / "llama.cpp", "-B", tree, *build.options],
        ),
        (
            "compiling",
            [*("cmake", "--build", tree, "--config", "Release"),
             *("--target", "llama-server", "--parallel", jobs)],
        ),
    ]  # fmt: skip


def _run(what: str, command: Sequence[str | Path], log: Path) -> None:
    with log.open("ab") as file:
        done = subprocess.run(  # noqa: S603 - one of `steps`
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
        )
    if done.returncode != 0:
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        raise CompareFailed(
            f"{what} failed, and llama-server is not built: see above", "\n".join(lines)
        )
