"""What was read outlives the process, or is read again: never anything in between."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.prefix import MIN_ROWS
from mistral_small_edge.engine.prefix_cache import Allocation
from mistral_small_edge.engine.prefix_store import PrefixStore
from mistral_small_edge.engine.reuse import Reuse
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.file_cache import PROMPTS, FileCache, Label
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import CHUNK, ROWS, Desk, prompt_of
from tests.fakes import FakeRunner, FakeTokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.engine.prompt import Prompt

ONE = SamplingParams(max_tokens=1, temperature=0)
LONG = [n % 7 for n in range(MIN_ROWS + 60)]
STATE = memoryview(b"rows " * 100)


def store(folder: Path, mark: str = "model", max_bytes: int = 10**9) -> PrefixStore:
    return PrefixStore(folder, mark, max_bytes=max_bytes)


def found(kept: PrefixStore, rows: list[int], *, exact: bool = False) -> Allocation | None:
    hit = kept.find(rows, Reuse(len(rows), exact=exact))
    return None if hit is None else hit[1]


def test_what_was_written_is_read_by_another(tmp_path: Path) -> None:
    rows = [*LONG, -(1 << 140), 5]
    store(tmp_path).write(rows, 150, STATE)
    hit = store(tmp_path).find([*rows, 9], Reuse(1000))
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


def numbers(count: int, first: int = 0) -> list[int]:
    return list(range(first, first + count))


@pytest.mark.parametrize(
    ("rows", "num_exact", "idle", "closing"),
    [
        (numbers(MIN_ROWS - 1, 5), MIN_ROWS - 1, False, False),
        (numbers(MIN_ROWS, 5), MIN_ROWS, True, True),
        # What was there grows.
        (numbers(1000 + MIN_ROWS - 1), 1000, False, False),
        (numbers(1000 + MIN_ROWS), 1000, False, True),
        (numbers(1249), 1000, False, True),
        (numbers(1250), 1000, True, True),
        # Something else begins like it: both would stay.
        ([*numbers(990), *numbers(240, -500)], 990, False, False),
        ([*numbers(990), *numbers(250, -500)], 990, True, True),
        # The same rows, more of them exact.
        (numbers(1000), 1000, False, False),
        (numbers(1000), 1000 - MIN_ROWS // 2, False, False),
    ],
)
def test_what_would_bring_little_is_not_written(
    tmp_path: Path, rows: list[int], num_exact: int, idle: bool, closing: bool
) -> None:
    kept = store(tmp_path)
    kept.write(numbers(1000), 1000, STATE)
    assert kept.wants(rows, num_exact) is idle
    assert kept.wants(rows, num_exact, closing=True) is closing


def test_rows_that_more_may_use_are_written_again(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write(numbers(1000), 0, STATE)
    assert kept.wants(numbers(1000), 900)


def test_a_growing_conversation_is_written_a_few_times_over(tmp_path: Path) -> None:
    kept, written = store(tmp_path), 0
    for length in range(50, 20_000, 50):
        if kept.wants(numbers(length), length):
            kept.write(numbers(length), length, STATE)
            written += length
    assert written < 5 * 20_000
    assert len(list(tmp_path.iterdir())) == 1


def test_many_questions_about_one_document_keep_it_once(tmp_path: Path) -> None:
    for question in range(20):
        asked = [*numbers(2000), *numbers(300, -1000 * question - 1000)]
        kept = store(tmp_path)
        if kept.wants(asked, len(asked), closing=True):
            kept.write(asked, len(asked), STATE)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_was_cleared_meanwhile_is_filled_again(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write(LONG, 150, STATE)
    (path,) = tmp_path.iterdir()
    path.unlink()
    assert kept.wants(LONG, 150)
    kept.write(LONG, 150, STATE)
    assert path.exists()
    assert found(kept, LONG) is not None


def test_a_copy_that_memory_does_not_hold_is_not_taken(tmp_path: Path) -> None:
    small = PrefixStore(tmp_path, "model", affords=lambda rows: rows <= 150)
    assert not small.wants(LONG, 150)
    assert not small.wants(LONG, 150, closing=True)
    assert small.wants(LONG[:150], 150)
    store(tmp_path).write(LONG, 150, STATE)
    again = PrefixStore(tmp_path, "model", affords=lambda rows: rows <= 150)
    assert found(again, LONG) is None, "to read it takes as much"


def test_what_is_written_aside_is_found_once_it_is_there(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write(LONG, 150, STATE, aside=True)
    longer = [*LONG, *LONG]
    kept.write(longer, 300, STATE, aside=True)  # waits for the first
    kept.close()
    assert not kept.is_writing
    assert found(kept, longer) == Allocation(-1, len(longer), 300)
    assert len(list(tmp_path.iterdir())) == 1
    kept.close()
    kept.write([7, *LONG], 150, STATE, aside=True)  # no thread any more
    assert found(kept, [7, *LONG]) is not None


def test_what_the_disk_refused_is_offered_again_with_the_next_prompt(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = store(tmp_path / "file")
    kept.write(LONG, 150, STATE)
    assert not kept.wants(LONG, 150)
    assert found(kept, LONG) is None
    assert kept.wants(LONG, 150)


def test_a_sound_file_of_something_else_is_a_miss(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write(LONG, 150, STATE)
    (path,) = tmp_path.iterdir()
    FileCache(tmp_path, PROMPTS).write(path.stem, [b"x"], Label("", 0))
    assert kept.read(path) is None
    assert found(kept, LONG) is None


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
    hit = damaged.find(LONG, Reuse(1000))
    if hit is not None:
        assert damaged.read(hit[0]) is None
        assert not path.exists()
        assert found(damaged, LONG) is None


@pytest.mark.parametrize(
    "data", [b"", b"x", b"MSECACH1" + bytes(100), b"MSECACH2" + bytes(100), os.urandom(5000)]
)
def test_a_foreign_file_is_passed_over(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.prefix").write_bytes(data)
    assert found(store(tmp_path), LONG) is None


def test_a_longer_prefix_takes_the_place_of_its_beginning(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.write(LONG, 150, STATE)
    assert not kept.wants(LONG, 150)
    assert not kept.wants([*LONG, 1, 2, 3], 150, closing=True), "hardly more"
    longer = [*LONG, *LONG]
    assert kept.wants(longer, 300)
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
    desk.engine.keep(closing=True)
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


def test_an_idle_moment_keeps_one_slot_aside(tmp_path: Path) -> None:
    desk = Desk(FakeRunner(2, context_length=500, row_classes=ROWS))
    kept = store(tmp_path)
    desk.engine = Engine(
        desk.runner, FakeTokenizer(), prefill_chunk=CHUNK, store=kept, clock=lambda: 0.0
    )
    for first in (8, 9):
        desk.add([first, *LONG], ONE)
    desk.run()
    assert desk.engine.keep()
    kept.close()  # waits for it
    assert desk.engine.keep()
    assert not desk.engine.keep()
    assert all(found(store(tmp_path), [first, *LONG]) for first in (8, 9))


def test_a_state_that_cannot_be_had_is_not_asked_for_without_end(tmp_path: Path) -> None:
    class Tight(FakeRunner):
        def save(self, slot: int) -> memoryview:
            raise MemoryError

    desk = run(tmp_path, LONG, Tight(2, context_length=500, row_classes=ROWS))
    assert not desk.engine.keep()
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_rows_stores_none(tmp_path: Path) -> None:
    run(tmp_path, LONG, FakeRunner(1, context_length=500, keeps_rows=False))
    assert list(tmp_path.iterdir()) == []
