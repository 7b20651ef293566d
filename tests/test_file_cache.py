"""Files that may be lost at any time: whole or not there, bounded, and never what fills a disk."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.file_cache import RESERVE_BYTES, FileCache, Kind, Label

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABEL = Label("a model", 12)
LABEL_BYTES = b'{"model": "a model", "tokens": 12}'
CONTENT = b"what was computed " * 10
FILE = 8 + 32 + 4 + len(LABEL_BYTES) + len(CONTENT)
KIND = Kind(".kind", 3 * FILE)
TERABYTE = 10**12


@dataclass(frozen=True)
class FakeDisk:
    """How full a disk is said to be."""

    total: int
    free: int


def cache(folder: Path, kind: Kind = KIND, disk: FakeDisk | None = None) -> FileCache:
    told = disk or FakeDisk(TERABYTE, TERABYTE)
    return FileCache(folder, kind, disk=lambda _folder: told)


def write(files: FileCache, name: str) -> Path:
    return files.write(name, [CONTENT[:7], memoryview(CONTENT)[7:]], LABEL)


def names(files: FileCache) -> list[str]:
    return [path.stem for path in files.paths()]


def aged(folder: Path, *order: str) -> None:
    """As if these had been used long ago, one after the other."""
    for seconds, name in enumerate(order):
        os.utime(folder / f"{name}.kind", (seconds, seconds))


def test_a_content_comes_back_in_memory_of_its_own(tmp_path: Path) -> None:
    files = cache(tmp_path / "not" / "there yet")
    path = write(files, "a")
    assert path == files.path("a")
    assert path.stat().st_size == FILE
    content = cache(path.parent).read(path)
    assert content is not None
    assert bytes(content) == CONTENT
    assert not content.readonly
    assert files.peek(path, 7) == CONTENT[:7]
    assert files.peek(path, 10**6) == CONTENT


def test_it_is_private(tmp_path: Path) -> None:
    path = write(cache(tmp_path / "new"), "a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_name_is_written_over(tmp_path: Path) -> None:
    files = cache(tmp_path)
    write(files, "a")
    files.write("a", [b"other"], Label("", 0))
    assert bytes(files.read(files.path("a")) or b"") == b"other"
    assert names(files) == ["a"]


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:size]


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


HEAD = FILE - len(CONTENT)


@pytest.mark.parametrize(
    "damage",
    [
        *map(cut, (0, 7, 39, 40, 43, 44, HEAD - 1, HEAD, FILE - 1)),
        # Magic, checksum, the label's length, the label and the content, at their ends.
        *map(flipped, (0, 7, 8, 39, 40, 43, 44, HEAD - 1, HEAD, FILE - 1)),
        lambda data: data + b"\0",
        lambda data: b"MSECACH1" + data[8:],
        lambda data: bytes(len(data)),
        lambda data: os.urandom(len(data)),
    ],
)
def test_what_is_not_whole_is_removed(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    files = cache(tmp_path)
    path = write(files, "a")
    path.write_bytes(damage(path.read_bytes()))
    files.files()  # nothing of it is in the way of a list
    files.peek(path, 100)
    assert files.read(path) is None
    assert not path.exists()


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    files = cache(tmp_path / "nowhere")
    assert files.read(files.path("a")) is None
    assert files.peek(files.path("a"), 5) == b""
    assert (files.paths(), files.files(), files.clear()) == ([], [], 0)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    files = cache(tmp_path)
    for name in ("a", "b", "c"):
        write(files, name)
    aged(tmp_path, "a", "b", "c")
    assert files.read(files.path("a")) is not None
    assert [kept.path.stem for kept in files.files()] == ["b", "c", "a"]
    write(files, "d")
    assert names(files) == ["a", "c", "d"]


def test_the_newest_stays_however_large(tmp_path: Path) -> None:
    files = cache(tmp_path, Kind(".kind", 1))
    write(files, "a")
    write(files, "b")
    assert names(files) == ["b"]


@pytest.mark.parametrize(
    ("disk", "left"),
    [
        (FakeDisk(TERABYTE, RESERVE_BYTES + FILE), ["a", "b", "c"]),
        (FakeDisk(TERABYTE, RESERVE_BYTES + FILE - 1), ["b", "c"]),
        (FakeDisk(TERABYTE, RESERVE_BYTES - FILE), ["c"]),
        (FakeDisk(10**9, 10**8 + FILE), ["a", "b", "c"]),  # a tenth of a small one
        (FakeDisk(10**9, 10**8), ["b", "c"]),
    ],
)
def test_a_disk_is_left_its_reserve(tmp_path: Path, disk: FakeDisk, left: list[str]) -> None:
    for name in ("a", "b"):
        write(cache(tmp_path), name)
    aged(tmp_path, "a", "b")
    write(cache(tmp_path, disk=disk), "c")
    assert names(cache(tmp_path)) == left


def test_on_a_full_disk_nothing_is_written_and_nothing_lost(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(cache(tmp_path), name)
    full = cache(tmp_path, disk=FakeDisk(TERABYTE, RESERVE_BYTES - 2 * FILE))
    with pytest.raises(OSError, match="too full"):
        write(full, "c")
    assert names(full) == ["a", "b"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_place_that_takes_no_file_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "a file"
    place.write_bytes(b"of the user's")
    with pytest.raises(OSError, match="File exists"):
        write(cache(place), "a")
    (tmp_path / "a.kind").mkdir()
    with pytest.raises(IsADirectoryError):
        write(cache(tmp_path), "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "a.kind"]


def test_what_is_there_says_what_it_is(tmp_path: Path) -> None:
    files = cache(tmp_path)
    write(files, "a")
    (tmp_path / "b.kind").write_bytes(b"MSECACH1" + bytes(100))
    (tmp_path / "c.kind.7.part").write_bytes(b"")
    labels = {kept.path.name: (kept.label, kept.size) for kept in files.files()}
    assert labels == {"a.kind": (LABEL, FILE), "b.kind": (None, 108), "c.kind.7.part": (None, 0)}


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"7", b'{"model": 1, "tokens": 1}', b'{"model": "", "tokens": "1"}']
)
def test_a_label_that_is_none_is_no_error(tmp_path: Path, text: bytes) -> None:
    data = b"MSECACH2" + bytes(32) + len(text).to_bytes(4, "little") + text
    (tmp_path / "a.kind").write_bytes(data)
    assert [kept.label for kept in cache(tmp_path).files()] == [None]


def test_clearing_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    files = cache(tmp_path)
    write(files, "a")
    (tmp_path / "b.kind.7.part").write_bytes(b"half")
    (tmp_path / "mine").write_bytes(b"of the user's")
    write(cache(tmp_path, Kind(".other", TERABYTE)), "a")
    assert files.clear() == FILE + 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.other", "mine"]


def test_what_cannot_be_removed_is_not_counted(tmp_path: Path) -> None:
    files = cache(tmp_path)
    (tmp_path / "a.kind").mkdir()
    assert files.clear() == 0
    assert [kept.path.name for kept in files.files()] == ["a.kind"]
