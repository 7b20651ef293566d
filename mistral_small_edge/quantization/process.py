"""Runs the quantizer where it can be killed, and lets nothing but a whole, sound file take its place.

llama.cpp's quantizer cannot be stopped and takes its process down with some files; so it has one of
its own. It writes beside the target, under a name that is gone afterwards whatever happens.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from mistral_small_edge.errors import ModelLoadFailed, QuantizeFailed, readable_size
from mistral_small_edge.llama.quantizer import QuantizeOptions
from mistral_small_edge.quantization.comparison import check
from mistral_small_edge.quantization.contents import Contents, read_contents
from mistral_small_edge.quantization.recipes import format_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mistral_small_edge.quantization.job import Job

logger = logging.getLogger("mistral_small_edge.llama")

# -P: a file in the working directory that is called like a library is none.
_COMMAND = (sys.executable, "-P", "-m", "mistral_small_edge.quantization.child")
_LEFT_OVER = 1_000_000  # bytes free on a disk that is called full
_LAST_WORDS = 4096  # bytes


def run(job: Job, on_progress: Callable[[int, int], None]) -> Contents:
    """Quantize, check, and put the result in its place.

    Args:
        on_progress: called with bytes of the source that are done, and all of them.

    Returns:
        What the new file holds.

    Raises:
        QuantizeFailed: llama.cpp would not, or what it wrote is not what was asked for. The target
            is as it was, as it is after any other exception.
    """
    part = job.target.with_name(f"{job.target.name}.{os.getpid()}.part")
    try:
        _quantize(job, part, on_progress)
        written = _checked(job, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(job.target)
    except OSError as error:
        raise QuantizeFailed(job.source.path, f"{job.target}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def _checked(job: Job, part: Path) -> Contents:
    try:
        written = read_contents(part)
    except ModelLoadFailed as error:
        reason = f"llama.cpp has written a file that is not sound: {error.reason}"
        raise QuantizeFailed(job.source.path, reason) from error
    check(job.source, written, job.wishes.recipe)
    return written


def _quantize(job: Job, part: Path, on_progress: Callable[[int, int], None]) -> None:
    sizes = {name: tensor.size for name, tensor in job.source.tensors.items()}
    total, done, current = sum(sizes.values()), 0, 0
    with TemporaryFile() as words, _child(_order(job, part), words) as child:
        assert child.stdout is not None  # noqa: S101 - it was asked for
        for line in child.stdout:
            match json.loads(line):
                case ["tensor", name]:
                    done, current = done + current, sizes[name]
                    on_progress(done, total)
                case ["log", level, message]:
                    logger.log(level, "%s", message)
                case ["failed", reason]:
                    raise QuantizeFailed(job.source.path, _disk_or(reason, part))
                case ["done"]:
                    on_progress(total, total)
                    return
        raise QuantizeFailed(job.source.path, _end(child.wait(), words))


@contextmanager
def _child(order: str, words: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """The quantizer at work; it does not outlive the block. `words` get what it says at its end."""
    with subprocess.Popen(  # noqa: S603 - ourselves
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        encoding="utf-8",
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # or ggml calls a debugger
    ) as child:
        try:
            assert child.stdin is not None  # noqa: S101 - it was asked for
            child.stdin.write(order)
            child.stdin.close()
            yield child
        finally:
            child.kill()


def _order(job: Job, part: Path) -> str:
    wishes = job.wishes
    options = QuantizeOptions(
        file_type=wishes.recipe.file_type,
        threads=wishes.threads,
        requantize=wishes.requantize,
        pure=wishes.pure,
        output_format=_number(wishes.output_format),
        embedding_format=_number(wishes.embedding_format),
    )
    order = {
        "source": str(job.source.path),
        "target": str(part),
        "options": asdict(options),
        "imatrix": None if wishes.imatrix is None else str(wishes.imatrix),
        "tensors": list(job.source.tensors),
    }
    return json.dumps(order)


def _number(name: str | None) -> int | None:
    return None if name is None else format_number(name)


def _disk_or(reason: str, part: Path) -> str:
    """C++'s streams do not tell why they do not write."""
    if shutil.disk_usage(part.parent).free < _LEFT_OVER:
        return f"the disk of {part.parent} is full"
    written = part.stat().st_size if part.exists() else 0
    return f"{reason} (after {readable_size(written)})" if written else reason


def _end(code: int, words: IO[bytes]) -> str:
    """Why a process ended that did not say so on its own line."""
    words.seek(max(0, words.seek(0, os.SEEK_END) - _LAST_WORDS))
    said = words.read().decode("utf-8", "replace").split("\n")
    last = next((f": {line.strip()}" for line in reversed(said) if line.strip()), "")
    if code == -signal.SIGKILL:
        return "the quantizer was killed, perhaps for want of memory"
    return f"the quantizer died (code {code}){last}"
