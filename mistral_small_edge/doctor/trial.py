"""Whether it answers at all: the toy model, in a process that may die.

A build for another processor ends in an illegal instruction only when it computes. Reports say too
often that nothing happened.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mistral_small_edge import places
from mistral_small_edge.doctor.report import Fact, Finding, Section
from mistral_small_edge.doctor.software import rebuild

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE = 120.0  # seconds; some are taken by trying this machine with the model
_PROGRAM = """
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.llm import LLM
config = EngineConfig(
    context_length=512, threads=1, vision=False, repack="on", flash_attention="off"
)
with LLM.load("toy", config) as llm:
    llm.chat("What is the capital of France?")
"""
# -P: a file in the working directory that is called like a library is none.
COMMAND = (sys.executable, "-P", "-c", _PROGRAM)


def trial(command: Sequence[str] = COMMAND, patience: float = _PATIENCE) -> Section:
    """Let the toy answer a question; every way in which that can end."""
    begun = time.perf_counter()
    try:
        with TemporaryDirectory() as folder:
            done = subprocess.run(  # noqa: S603 - ourselves
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=patience,
                check=False,
                env={**os.environ, places.MOVED_BY: folder},  # what it finds out is not kept
            )
    except subprocess.TimeoutExpired:
        text = f"the toy model has not answered within {patience:g} seconds"
        return _section("no answer", Finding("warning", text, fatal=True))
    seconds = time.perf_counter() - begun
    if done.returncode == 0:
        text = f"the toy model answers; loaded, tried and asked in {seconds:.1f} s"
        return _section("answered", Finding("ok", text))
    return _section("failed", _failure(done.returncode, done.stderr))


def _section(outcome: str, finding: Finding) -> Section:
    return Section("trial", (Fact("toy model", outcome),), (finding,))


def _failure(code: int, said: str) -> Finding:
    if code == -signal.SIGILL:
        text = "the toy model ended in an illegal instruction: this build is for another processor"
        return Finding("warning", text, rebuild(), fatal=True)
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    died = f"signal {-code}" if code < 0 else f"code {code}"
    return Finding("warning", f"the toy model did not answer ({died}): {last}"[:300], fatal=True)
