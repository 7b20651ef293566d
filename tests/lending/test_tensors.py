"""The folder of tensors: nothing torn in it, never too full, and one worker's at a time."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.lending.fnv import Fnv
from mistral_small_edge.lending.tensors import Tensors, kept_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = 10**15


class Usage(NamedTuple):
    total: int
    free: int


def name_of(data: bytes) -> str:
    fnv = Fnv()
    fnv.update(data)
    return fnv.name


def put(folder: Path, data: bytes, *, used: int = 1, torn: bool = False) -> str:
    """As ggml writes it; `used` in seconds since the epoch."""
    path = folder / name_of(data)
    path.write_bytes(data[:-1] if torn else data)
    os.utime(path, (used, used))
    return path.name


def names(folder: Path) -> set[str]:
    return {one.path.name for one in kept_in(folder)}


def checked(tensors: Tensors) -> Tensors:
    for _ in tensors.check():
        pass
    return tensors


@pytest.fixture
def tensors(tmp_path: Path) -> Iterator[Tensors]:
    with Tensors(tmp_path, LARGE, disk=lambda _: Usage(LARGE, LARGE)) as tensors:
        yield tensors


def test_what_is_torn_goes_and_what_is_whole_stays(tmp_path: Path, tensors: Tensors) -> None:
    whole = put(tmp_path, b"w" * 1000)
    put(tmp_path, b"t" * 1000, torn=True)
    (tmp_path / "mine.txt").write_text("of the user's")
    assert tensors.unchecked() == 1999
    assert not tensors.open_door()
    assert checked(tensors).open_door()
    assert names(tmp_path) == {whole}
    assert (tmp_path / "mine.txt").exists()
    assert (tensors.door / whole).read_bytes() == b"w" * 1000


def test_what_was_found_sound_is_not_read_again(tmp_path: Path) -> None:
    name = put(tmp_path, b"w" * 1000)
    with Tensors(tmp_path, LARGE) as tensors:
        checked(tensors)
    with Tensors(tmp_path, LARGE) as tensors:
        assert tensors.unchecked() == 0
        os.utime(tmp_path / name, (2, 2))  # written since, for all one knows
        assert tensors.unchecked() == 1000


def test_the_same_size_with_other_bytes_is_found_out(tmp_path: Path, tensors: Tensors) -> None:
    """A power cut leaves zeros in place of what was never written."""
    name = put(tmp_path, b"w" * 1000)
    (tmp_path / name).write_bytes(bytes(1000))
    checked(tensors)
    assert names(tmp_path) == set()


def test_the_longest_unused_makes_room(tmp_path: Path) -> None:
    old, new = put(tmp_path, b"o" * 600, used=10), put(tmp_path, b"n" * 600, used=20)
    with Tensors(tmp_path, 1000) as tensors:
        assert tensors.make_room()
    assert names(tmp_path) == {new} != {old}


def test_what_is_in_use_does_not_make_room(tmp_path: Path) -> None:
    """Of a model larger than the folder its first tensors stay, or the next run would find none."""
    put(tmp_path, b"o" * 600, used=10)
    kept = {put(tmp_path, b"a" * 600, used=20), put(tmp_path, b"b" * 600, used=21)}
    with Tensors(tmp_path, 1000) as tensors:
        assert not tensors.make_room(unused_since=20 * 10**9)
    assert names(tmp_path) == kept


def test_a_full_disk_closes_the_door(tmp_path: Path) -> None:
    put(tmp_path, b"w" * 1000)
    free = [LARGE]
    with Tensors(tmp_path, LARGE, disk=lambda _: Usage(LARGE, free[0])) as tensors:
        assert checked(tensors).open_door()
        free[0] = 1_000_000
        assert not tensors.open_door()
        assert not tensors.door.exists()


def test_a_folder_is_one_workers(tmp_path: Path) -> None:
    with Tensors(tmp_path, LARGE, disk=lambda _: Usage(LARGE, LARGE)) as one:
        assert one.open_door()
        with pytest.raises(InvalidRequest, match="another worker's"):
            Tensors(tmp_path, LARGE)
        assert one.is_open
        held = os.dup(one.lock)  # as its server does
    with pytest.raises(InvalidRequest, match="another worker's"):
        Tensors(tmp_path, LARGE)
    os.close(held)
    with Tensors(tmp_path, LARGE) as other:
        assert not other.is_open


def test_a_folder_that_goes_away_is_no_disaster(tmp_path: Path) -> None:
    with Tensors(tmp_path / "gone", LARGE) as tensors:
        shutil.rmtree(tmp_path / "gone")
        assert not checked(tensors).open_door()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="cannot be kept"):
        Tensors(tmp_path / "file", LARGE)


@pytest.mark.parametrize("said", ["", "[]", "{", '{"x": 1}', '{"x": [1, "y"]}', "[" * 10**5])
def test_notes_that_make_no_sense_cost_a_check(tmp_path: Path, said: str) -> None:
    name = put(tmp_path, b"w" * 1000)
    (tmp_path / "sound.json").write_text(said)
    with Tensors(tmp_path, LARGE) as tensors:
        assert tensors.unchecked() == 1000
        assert checked(tensors).unchecked() == 0
    assert names(tmp_path) == {name}
