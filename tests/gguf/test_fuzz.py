"""Damaged GGUF headers: read_header answers or refuses, and what it lets through does not kill.

Repeatable: the same mutations in every run. A failure names the mutation; its number given to
`python -m tests.gguf.llama_child mutate FILE NUMBER 1` repeats it alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.gguf import ModelHeader, read_header
from tests.gguf.mutations import WHOLE, Original, mutate
from tests.tiny_gguf import write_tiny_model

MUTATIONS = 600  # of each model
PATIENCE = 60  # seconds until the child counts as hung
MAX_CHILD_BYTES = 400_000_000
MAX_READ_BYTES = 4_000_000  # for a header of 6 kB
MAX_READ_SECONDS = 1.0

OVERWRITES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=12),
            st.sampled_from(WHOLE).map(lambda value: value.to_bytes(8, "little")),
        ),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original.of(write_tiny_model(tmp_path_factory.mktemp("gguf") / "tiny.gguf"))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "damaged.gguf"


def read_within_bounds(path: Path) -> ModelHeader | None:
    """The header, or None if it was refused; anything else fails."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        return read_header(path)
    except ModelLoadFailed:
        return None
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MAX_READ_BYTES
        assert time.monotonic() - began < MAX_READ_SECONDS


@settings(max_examples=400, derandomize=True, deadline=None)
@given(overwrites=OVERWRITES, kept=st.one_of(st.none(), st.floats(0, 1)))
def test_any_damage_is_read_or_refused(
    original: Original,
    target: Path,
    overwrites: list[tuple[float, bytes]],
    kept: float | None,
) -> None:
    data = bytearray(original.data)
    for where, new in overwrites:
        at = int(where * original.header_size)
        data[at : at + len(new)] = new
    if kept is not None:
        del data[int(kept * len(data)) :]
    target.write_bytes(data)
    header = read_within_bounds(target)
    if header is not None:
        assert header.parameter_bytes <= header.file_size == len(data)
        assert header.block_count * header.embedding_length * header.vocab_size > 0


def test_aimed_damage_is_read_or_refused(original: Original, target: Path) -> None:
    accepted = 0
    for seed in range(MUTATIONS):
        data, _ = mutate(original, Random(seed))
        target.write_bytes(data)
        accepted += read_within_bounds(target) is not None
    # Neither end would be a test: everything refused, or nothing.
    assert MUTATIONS // 10 < accepted < MUTATIONS // 2


@pytest.mark.parametrize("architecture", ["llama", "mistral3"])
def test_what_is_accepted_does_not_kill(tmp_path: Path, architecture: str) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf", architecture=architecture)
    done = subprocess.run(
        [sys.executable, "-m", "tests.gguf.llama_child", "mutate", path, "0", str(MUTATIONS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    lines = done.stdout.splitlines()
    last = next((line for line in reversed(lines) if line.startswith("mutation")), "none")
    assert done.returncode == 0, f"{last}\n{done.stderr[-2000:]}"
    assert lines.count("decoded") > MUTATIONS // 20
    assert int(lines[-1].removeprefix("peak ")) < MAX_CHILD_BYTES
