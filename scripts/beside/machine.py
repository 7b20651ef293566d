"""Where figures come from: the machine, the file, and what of whom."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from mistral_small_edge.errors import readable_size

if TYPE_CHECKING:
    from scripts.beside.contenders import Setting

_PROCESSOR = re.compile(r"^(?:model name|Model)\s*:\s*(.+)$", re.MULTILINE)


def describe(setting: Setting, size: int, llama_server: Path) -> dict[str, str | int]:
    """Facts by name, in the order in which they are told; `size` is the model's, in bytes."""
    return {
        "processor": processor(),
        "cores": psutil.cpu_count(logical=False) or 0,
        "logical_cpus": psutil.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": setting.threads,
        "context": setting.context,
        "slots": setting.slots,
        "model": setting.model.name,
        "model_bytes": size,
        "mistral-small-edge": version("mistral-small-edge"),
        "llama-cpp-python": version("llama-cpp-python"),
        "llama-server": version_of(llama_server),
    }


def line(facts: dict[str, str | int]) -> str:
    """All that matters of it, for a person."""
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['system']}; "
        f"{facts['model']} ({readable_size(int(facts['model_bytes']))}), "
        f"threads {facts['threads']}, {facts['slots']} slots of {facts['context']} tokens; "
        f"mistral-small-edge {facts['mistral-small-edge']} on "
        f"llama-cpp-python {facts['llama-cpp-python']}, llama-server {facts['llama-server']}"
    )


def processor() -> str:
    """Its name, as the system knows it."""
    file = Path("/proc/cpuinfo")
    found = _PROCESSOR.search(file.read_text()) if file.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def version_of(llama_server: Path) -> str:
    """What it says of itself."""
    done = subprocess.run(  # noqa: S603 - what the caller named
        [llama_server, "--version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"version: (.+)", done.stdout + done.stderr)
    return found[1] if found else "unknown"
