"""A machine to run the scripts on, that has just what a test gives it.

It is a copy of the scripts and a PATH that holds a few tools of the system and stubs for the
rest: a Python that plays pip, and a compiler. Nothing is installed and no network is asked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = (
    *("bash", "cat", "chmod", "cksum", "cp", "df", "dirname", "env"),
    *("mkdir", "rm", "sed", "sh", "sleep", "tail"),
)
NEVER = "never"
PATIENCE = 20.0  # seconds; only a broken script takes that long

# Plays the interpreter on the PATH, and, copied there by its own `-m venv`, the one in .venv.
# {fails} is a shell pattern: a call that matches it fails, telling twenty lines about it.
PYTHON = """#!/bin/sh
if [ "$1" = -m ]; then echo "$* [${{CMAKE_ARGS-}}]" >>"$CALLS"; fi
case "$*" in
    {fails})
        for line in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo "line $line" >&2; done
        exit 1 ;;
esac
case "$*" in
    *version_info*) echo {version} ;;
    *fcntl*) exec "$REAL_PYTHON" "$@" ;;
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install "*" -e "*)
        {install}
        printf '#!/bin/sh\\nprintf "<%%s>" "$@"; cat\\n' >.venv/bin/mistral-small-edge
        chmod +x .venv/bin/mistral-small-edge ;;
esac
case "$*" in
    {compiles})
        mkdir -p .venv/lib/python{version}/site-packages/llama_cpp/lib
        cd .venv/lib/python{version}/site-packages
        : >llama_cpp/lib/libggml-rpc.so
        pin=$(sed -n 's/^ *"llama-cpp-python==\\([0-9.]*\\)".*/\\1/p' ../../../../pyproject.toml)
        mkdir -p "llama_cpp_python-$pin.dist-info" ;;
esac
"""
INSTALL = "*' -e '*"
REBUILD = "*'--no-cache-dir --force-reinstall'*"


@dataclass(frozen=True)
class Box:
    """A machine with a checkout; its root holds what the scripts are to find."""

    home: Path

    @property
    def root(self) -> Path:
        return self.home / "a checkout"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": str(self.home / "bin"),
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "CALLS": str(self.home / "calls"),
            "FIFO": str(self.home / "fifo"),
            "REAL_PYTHON": sys.executable,
        }

    def stub(self, name: str, body: str) -> None:
        """Put a command on the PATH in place of what was there."""
        file = self.home / "bin" / name
        file.unlink(missing_ok=True)
        file.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    def python(
        self,
        name: str = "python3",
        *,
        version: str = "3.12",
        fails: str = NEVER,
        install: str = ":",
        compiles: str = INSTALL,
    ) -> None:
        """Put an interpreter on the PATH."""
        body = PYTHON.format(version=version, fails=fails, install=install, compiles=compiles)
        self.stub(name, body)

    def run(self, script: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a script from some other directory, with an open and silent stdin."""
        reading, writing = os.pipe()
        try:
            return subprocess.run(
                [self.root / script, *words],
                stdin=reading,
                capture_output=True,
                text=True,
                env=self.environment | more,
                cwd=self.home,
                timeout=PATIENCE,
                check=False,
            )
        finally:
            os.close(reading)
            os.close(writing)

    def refusal(self, script: str = "scripts/setup", **more: str) -> str:
        """Run a script that is to fail; returns what it said."""
        done = self.run(script, **more)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    def calls(self) -> list[str]:
        """What was asked of Python's modules since the last look."""
        file = self.home / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


def complete_box(home: Path) -> Box:
    """A Debian-like machine that lacks nothing."""
    box = Box(home)
    shutil.copytree(ROOT / "scripts", box.root / "scripts")
    shutil.copytree(ROOT / ".ci", box.root / ".ci")
    (box.root / "models").mkdir()
    for name in ("pyproject.toml", "models/catalog.toml"):
        shutil.copy(ROOT / name, box.root / name)
    (home / "bin").mkdir()
    for tool in TOOLS:
        where = shutil.which(tool)
        assert where is not None
        (home / "bin" / tool).symlink_to(where)
    for name in ("apt-get", "cc", "c++", "cmake"):
        box.stub(name, "exit 0")
    box.stub("uname", "echo Linux")
    box.python()
    return box
