"""What was read outlives the process, or is read again: never anything in between."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.prefix_cache import Allocation
from mistral_small_edge.engine.prefix_store import MIN_ROWS, PrefixStore
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import CHUNK, ROWS, Desk, prompt_of
from tests.fakes import FakeRunner, FakeTokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.engine.prompt import Prompt

ONE = SamplingParams(max_tokens=1, temperature=0)
LONG = [n % 7 for n in range(MIN_ROWS + 60)]
STATE = memoryview(b"rows " * 100)


def store(folder: Path, mark: str = "model", **bound: int) -> PrefixStore:
    return PrefixStore(folder, mark, **bound)


def found(kept: PrefixStore, rows: list[int], *, exact: bool = False) -> Allocation | None:
    hit = kept.find(rows, limit=len(rows), exact=exact)
    return None if hit is None else hit[1]


def test_what_was_written_is_read_by_another(tmp_path: Path) -> None:
    rows = [*LONG, -(1 << 140), 5]
    store(tmp_path).write(rows, 150, STATE)
    hit = store(tmp_path).find([*rows, 9], limit=1000, exact=False)
    assert hit is not None
    assert hit[1] == Allocation(-1, len(rows), 150)
    assert store(tmp_path).read(hit[0]) == STATE
    assert found(store(tmp_path), rows, exact=True) == Allocation(-1, 150, 150)
    assert found(store(tmp_path), [*LONG[:140], 8]) == Allocation(-1, 140, 140)
    assert found(store(tmp_path), [*LONG[:100], 8]) is None, "hardly worth a file"
    assert found(store(tmp_path, "another model"), rows) is None


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    store(tmp_path / "new").write(LONG, 150, STATE)
    (path,) = (tmp_path / "new").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("where", [0, 3, 20, 60, 400, -1])
@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_damaged_file_is_none(tmp_path: Path, where: int, how: str) -> None:
    store(tmp_path).write(LONG, 150, STATE)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[where:]
    else:
        data[where] ^= 1
    path.write_bytes(data)
    damaged = store(tmp_path)
    hit = damaged.find(LONG, limit=1000, exact=False)
    if hit is not None:
        assert damaged.read(hit[0]) is None
        assert not path.exists()
        assert found(damaged, LONG) is None


@pytest.mark.parametrize("data", [b"", b"x", b"MSEPRE01" + bytes(100), os.urandom(5000)])
def test_a_foreign_file_is_passed_over(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.prefix").write_bytes(data)
    assert found(store(tmp_path), LONG) is None


def test_a_longer_prefix_takes_the_place_of_its_beginning(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write(LONG, 150, STATE)
    assert kept.has(LONG, 150)
    assert kept.has([*LONG, 1, 2, 3], 150), "hardly more"
    longer = [*LONG, *LONG]
    assert not kept.has(longer, 300)
    kept.write(longer, 300, STATE)
    assert len(list(tmp_path.iterdir())) == 1
    assert found(kept, longer) == Allocation(-1, len(longer), 300)


def test_the_folder_stays_within_its_bound(tmp_path: Path) -> None:
    kept = store(tmp_path, max_bytes=5000)
    for at in range(6):
        kept.write([100 + at, *LONG], 150, STATE)
        (newest,) = (p for p in tmp_path.iterdir() if p.stat().st_mtime_ns > 10**12)
        os.utime(newest, ns=(at, at))  # a clock that is coarser than this loop
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5000
    assert found(kept, [105, *LONG]) is not None
    assert found(kept, [100, *LONG]) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = store(tmp_path / "file")
    kept.write(LONG, 150, STATE)
    assert found(kept, LONG) is None


def run(folder: Path, prompt: Prompt | list[int], runner: FakeRunner | None = None) -> Desk:
    """A process that answers one prompt and ends."""
    desk = Desk(runner or FakeRunner(2, context_length=500, row_classes=ROWS))
    desk.engine = Engine(
        desk.runner, FakeTokenizer(), prefill_chunk=CHUNK, store=store(folder), clock=lambda: 0.0
    )
    desk.add(prompt, ONE)
    desk.run()
    desk.check_answer(0)
    desk.engine.keep()
    return desk


def test_a_later_process_does_not_read_it_again(tmp_path: Path) -> None:
    assert run(tmp_path, LONG).end(0).cached_tokens == 0
    assert run(tmp_path, [*LONG, 1, 2, 3]).end(0).cached_tokens == len(LONG)
    assert run(tmp_path, [9, *LONG]).end(0).cached_tokens == 0


def test_pictures_in_it_are_not_looked_at_again(tmp_path: Path) -> None:
    shown = prompt_of((1, 2, (0, 90), *LONG))
    assert len(run(tmp_path, shown).runner.looks) == 1
    again = run(tmp_path, shown)
    assert again.runner.looks == []
    assert again.end(0).cached_tokens == len(shown) - 1


def test_what_the_runner_does_not_take_is_computed(tmp_path: Path) -> None:
    class Picky(FakeRunner):
        def restore(self, slot: int, state: memoryview, length: int) -> None:
            self.lanes[slot] = [1, 2, 3]  # half done
            raise DecodeFailed(-100, length)

    run(tmp_path, LONG)
    picky = run(tmp_path, LONG, Picky(2, context_length=500, row_classes=ROWS))
    assert picky.end(0).cached_tokens == 0


def test_a_model_without_rows_stores_none(tmp_path: Path) -> None:
    run(tmp_path, LONG, FakeRunner(1, context_length=500, keeps_rows=False))
    assert list(tmp_path.iterdir()) == []
