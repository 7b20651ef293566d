"""The shared cache as other tools of the hub leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.store import hub_cache
from mistral_small_edge.store.source import HubFile

if TYPE_CHECKING:
    from pathlib import Path

SHA256, XET_HASH, COMMIT = "a" * 64, "b" * 64, "c" * 40
ONE, TWO = HubFile("someone/one", "q/m.gguf"), HubFile("someone/two", "m.gguf")


def publish(file: HubFile, cache: Path, commit: str = COMMIT) -> Path:
    """Link a snapshot's entry to the repository's blob; returns the entry."""
    directory = hub_cache.repository_directory(file.repository, cache)
    (directory / "refs").mkdir(parents=True, exist_ok=True)
    (directory / "refs" / "main").write_text(COMMIT)
    pointer = directory / "snapshots" / commit / file.filename
    pointer.parent.mkdir(parents=True)
    ups = "../" * (2 + file.filename.count("/"))
    pointer.symlink_to(f"{ups}blobs/{SHA256}")
    return pointer


def store(file: HubFile, cache: Path, content: bytes) -> Path:
    """The repository's own blob; returns its snapshot's entry."""
    blobs = hub_cache.blobs_directory(file.repository, cache)
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / SHA256).write_bytes(content)
    return publish(file, cache)


def share(file: HubFile, cache: Path, content: bytes) -> Path:
    """A blob in the store that repositories share, as huggingface_hub lays it out."""
    shelf = cache / "blobs" / XET_HASH[:2]
    shelf.mkdir(parents=True, exist_ok=True)
    (cache / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
    (shelf / XET_HASH).write_bytes(content)
    blobs = hub_cache.blobs_directory(file.repository, cache)
    blobs.mkdir(parents=True)
    (blobs / SHA256).symlink_to(f"../../blobs/{XET_HASH[:2]}/{XET_HASH}")
    with (shelf / f"{XET_HASH}.refs").open("a") as references:
        references.write(f"{(blobs / SHA256).relative_to(cache).as_posix()}\n")
    return publish(file, cache)


def test_the_published_sha256_is_not_the_shared_stores_name(tmp_path: Path) -> None:
    assert hub_cache.published_sha256(share(ONE, tmp_path, b"x")) == SHA256


def test_a_shared_file_stays_for_those_who_still_need_it(tmp_path: Path) -> None:
    one, two = share(ONE, tmp_path, b"12345"), share(TWO, tmp_path, b"12345")
    removal = hub_cache.plan_removal([ONE], tmp_path)
    assert removal.freed == 0
    removal.execute()
    assert not one.is_symlink()
    assert two.read_bytes() == b"12345"
    removal = hub_cache.plan_removal([TWO], tmp_path)
    assert removal.freed == 5
    removal.execute()
    assert not (tmp_path / "blobs" / XET_HASH[:2] / XET_HASH).exists()


def test_removal_takes_the_links_of_every_snapshot(tmp_path: Path) -> None:
    pointers = [store(ONE, tmp_path, b"123"), publish(ONE, tmp_path, "d" * 40)]
    hub_cache.plan_removal([ONE], tmp_path).execute()
    assert not any(pointer.is_symlink() for pointer in pointers)


def test_nothing_is_removed_until_it_is_executed(tmp_path: Path) -> None:
    pointer = store(ONE, tmp_path, b"123")
    assert hub_cache.plan_removal([ONE], tmp_path).freed == 3
    assert pointer.exists()


def test_removal_in_a_cache_that_huggingface_hub_cannot_read(tmp_path: Path) -> None:
    pointer = store(ONE, tmp_path, b"123")
    pointer.with_name("dangling").symlink_to("nowhere")
    with pytest.raises(ModelLoadFailed, match="the cache around it is damaged"):
        hub_cache.plan_removal([ONE], tmp_path)


@pytest.mark.parametrize("keep", [store, share])
def test_setting_aside_leaves_no_link_behind(tmp_path: Path, keep: object) -> None:
    pointer = (store if keep is store else share)(ONE, tmp_path, b"123")
    second = publish(ONE, tmp_path, "d" * 40)
    aside = hub_cache.set_aside(ONE, pointer, tmp_path)
    assert aside.read_bytes() == b"123"
    assert not pointer.is_symlink()
    assert not second.is_symlink()
    assert list(hub_cache.cached_models(tmp_path)) == []
    assert hub_cache.damaged(ONE, tmp_path) == [aside]


def test_each_file_is_listed_once_by_its_best_name(tmp_path: Path) -> None:
    store(ONE, tmp_path, b"123")
    publish(ONE, tmp_path, "0" * 40)
    assert list(hub_cache.cached_models(tmp_path)) == [ONE]


def test_a_file_of_another_commit_is_listed_by_it(tmp_path: Path) -> None:
    pointer = store(ONE, tmp_path, b"123")
    other = HubFile(ONE.repository, "old.gguf", "d" * 40)
    link = publish(other, tmp_path, "d" * 40)
    link.unlink()
    link.write_bytes(b"another file")
    assert set(hub_cache.cached_models(tmp_path)) == {ONE, other}
    assert hub_cache.pointer_to(other, tmp_path) == link
    assert hub_cache.pointer_to(ONE, tmp_path) == pointer


def test_what_others_began_is_not_ours_to_continue(tmp_path: Path) -> None:
    blobs = hub_cache.blobs_directory(ONE.repository, tmp_path)
    blobs.mkdir(parents=True)
    for name in [f"{SHA256}.incomplete", f"{SHA256}.0a1b2c3d.incomplete"]:
        (blobs / name).write_bytes(b"12")
    ours = blobs / hub_cache.unfinished_name(ONE.filename, SHA256)
    ours.write_bytes(b"1")
    longer = HubFile(ONE.repository, f"{ONE.filename}.x.gguf")
    (blobs / hub_cache.unfinished_name(longer.filename, SHA256)).write_bytes(b"1")
    assert hub_cache.unfinished(ONE, tmp_path) == [ours]
    assert set(hub_cache.cached_models(tmp_path)) == {ONE, longer}


def test_an_empty_cache(tmp_path: Path) -> None:
    assert list(hub_cache.cached_models(tmp_path / "none")) == []
    assert hub_cache.plan_removal([ONE], tmp_path / "none").is_empty
