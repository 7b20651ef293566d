"""What pictures look like, kept in memory and on disk: bounded, bit for bit, and never believed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mistral_small_edge.llama.vector_cache import VectorCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Damage = Callable[[bytes], bytes]

ROWS, WIDTH = 5, 8
SIZE = ROWS * WIDTH * 4  # bytes of one picture's vectors
LABEL = b'{"model": "", "tokens": 5}'
HEAD = 8 + 32 + 4 + len(LABEL) + 8  # bytes of a file before them
FILE = HEAD + SIZE


def vectors(seed: int = 0, rows: int = ROWS) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, WIDTH), np.float32)


def filled(cache: VectorCache, *digests: int) -> VectorCache:
    for digest in digests:
        cache.put(str(digest), vectors(digest))
    return cache


def kept(cache: VectorCache, *digests: int) -> list[int]:
    """Which of them are there, right to the last bit."""
    found = {digest: cache.get(str(digest)) for digest in digests}
    for digest, got in found.items():
        assert got is None or same_bits(got, vectors(digest))
    return [digest for digest, got in found.items() if got is not None]


def same_bits(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def files(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def aged(folder: Path) -> None:
    """As if all there had been written long ago, in the order of their times."""
    for seconds, path in enumerate(files(folder)):
        os.utime(path, (seconds, seconds))


def test_what_was_not_used_for_longest_leaves_memory_first() -> None:
    cache = filled(VectorCache("m", memory_bytes=3 * SIZE), 1, 2, 3)
    assert kept(cache, 1) == [1]  # used now
    filled(cache, 4)
    assert kept(cache, 1, 2, 3, 4) == [1, 3, 4]
    filled(cache, 3, 5)  # put again is used, too
    assert kept(cache, 1, 3, 4, 5) == [3, 4, 5]


@pytest.mark.parametrize("room", [0, SIZE - 1, SIZE])
def test_the_last_one_stays_in_memory_however_large(room: int) -> None:
    cache = filled(VectorCache("m", memory_bytes=room), 1, 2)
    assert kept(cache, 1, 2) == [2]


def test_what_is_got_cannot_be_written_to(tmp_path: Path) -> None:
    first = filled(VectorCache("m", tmp_path), 1)
    for cache in (first, VectorCache("m", tmp_path)):
        got = cache.get("1")
        assert got is not None
        with pytest.raises(ValueError, match="read-only"):
            got[0, 0] = 0


def test_vectors_outlive_the_process_bit_for_bit(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there yet"
    odd = vectors(7)
    odd[0, :4] = -0.0, 1e-45, np.inf, 3.4e38
    VectorCache("m", folder).put("7", odd.copy())
    filled(VectorCache("m", folder), 1, 2)
    later = VectorCache("m", folder)
    got = later.get("7")
    assert got is not None
    assert same_bits(got, odd)
    assert kept(later, 1, 2, 3) == [1, 2]
    assert [path.stat().st_size for path in files(folder)] == [FILE] * 3
    assert {path.suffix for path in files(folder)} == {".vectors"}, "no partial file"


def test_what_was_read_from_disk_is_kept_in_memory(tmp_path: Path) -> None:
    filled(VectorCache("m", tmp_path), 1)
    cache = VectorCache("m", tmp_path)
    assert kept(cache, 1) == [1]
    for path in files(tmp_path):
        path.unlink()
    assert kept(cache, 1) == [1]


def test_vectors_of_another_network_are_not_found(tmp_path: Path) -> None:
    filled(VectorCache("m", tmp_path), 1)
    assert kept(VectorCache("another", tmp_path), 1) == []
    assert kept(VectorCache("m", tmp_path), 1) == [1]


def cut(size: int) -> Damage:
    return lambda data: data[:size]


def flipped(at: int) -> Damage:
    return lambda data: data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        *map(cut, (0, 1, 8, HEAD - 1, HEAD, HEAD + 1, FILE - 4, FILE - 1)),
        # Magic, checksum, the label's length, the label, shape and body, at their ends.
        *map(flipped, (0, 7, 8, 39, 40, 43, 44, HEAD - 9, HEAD - 8, HEAD - 1, HEAD, FILE - 1)),
        lambda data: data + b"\0",
        lambda data: b"GGUF" + data[4:],
        lambda data: bytes(len(data)),
        lambda data: b"\xff" * len(data),
    ],
)
def test_a_damaged_file_is_not_believed_and_removed(tmp_path: Path, damage: Damage) -> None:
    filled(VectorCache("m", tmp_path), 1)
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    cache = VectorCache("m", tmp_path)
    assert kept(cache, 1) == []
    assert not path.exists()
    filled(cache, 1)
    assert kept(VectorCache("m", tmp_path), 1) == [1]


def test_what_was_not_used_for_longest_leaves_the_disk_first(tmp_path: Path) -> None:
    def cache() -> VectorCache:
        return VectorCache("m", tmp_path, disk_bytes=3 * FILE)

    for digest in (1, 2, 3):
        filled(cache(), digest)
        aged(tmp_path)
    assert kept(cache(), 1) == [1]  # used now
    filled(cache(), 4)
    assert kept(cache(), 1, 2, 3, 4) == [1, 3, 4]


def test_the_last_one_stays_on_disk_however_large(tmp_path: Path) -> None:
    filled(VectorCache("m", tmp_path), 1)
    aged(tmp_path)
    filled(VectorCache("m", tmp_path, disk_bytes=1), 2)
    assert kept(VectorCache("m", tmp_path), 1, 2) == [2]


def test_what_somebody_was_killed_at_counts_and_goes(tmp_path: Path) -> None:
    filled(VectorCache("m", tmp_path), 1)
    (path,) = files(tmp_path)
    left = path.rename(path.with_name(f"{path.name}.123.part"))
    other = tmp_path / "of somebody else"
    other.write_bytes(bytes(10 * FILE))
    aged(tmp_path)
    filled(VectorCache("m", tmp_path, disk_bytes=FILE), 2)
    assert not left.exists()
    assert other.exists()
    assert kept(VectorCache("m", tmp_path), 1, 2) == [2]


@pytest.mark.parametrize("below", ["", "folder"])
def test_a_place_that_takes_no_file_is_no_error(tmp_path: Path, below: str) -> None:
    place = tmp_path / "a file"
    place.write_bytes(b"of the user's")
    cache = filled(VectorCache("m", place / below), 1)
    assert kept(cache, 1, 2) == [1]
    assert place.read_bytes() == b"of the user's"


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    filled(VectorCache("m", tmp_path), 1)
    (path,) = files(tmp_path)
    path.unlink()
    path.mkdir()
    cache = VectorCache("m", tmp_path)
    assert kept(cache, 1) == []
    assert kept(filled(cache, 1), 1) == [1]
    assert files(tmp_path) == [path]
