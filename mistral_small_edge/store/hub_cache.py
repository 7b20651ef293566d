"""The hub's cache on this disk: the layout that every tool of the field shares.

A repository has `refs` (branch to commit), `snapshots` (per commit, links) and `blobs` (the files,
an LFS file named by its sha256). That is known here and nowhere else. Nothing here asks a network,
and nothing is deleted outside the cache.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from mistral_small_edge.errors import InvalidRequest, ModelLoadFailed
from mistral_small_edge.store.source import DEFAULT_REVISION, HubFile, split_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from huggingface_hub import DeleteCacheStrategy

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"(?P<name>.+\.gguf)\.[^.]{1,16}\.incomplete", re.IGNORECASE)
_LONGEST_NAME = 200  # bytes of a file's name, of the 255 that a file system takes


def cache_directory(chosen: Path | None = None) -> Path:
    """The cache: `chosen`, or where HF_HUB_CACHE or HF_HOME say, or the usual place."""
    from huggingface_hub import constants  # reads the environment, imports nothing heavy

    return chosen or Path(constants.HF_HUB_CACHE)


def repository_directory(repository: str, cache: Path) -> Path:
    """Where the cache keeps everything of `owner/repo`."""
    return cache / f"models--{repository.replace('/', '--')}"


def blobs_directory(repository: str, cache: Path) -> Path:
    """Where the files themselves are."""
    return repository_directory(repository, cache) / "blobs"


def pointer_to(file: HubFile, cache: Path) -> Path:
    """Where a tool of the hub finds `file` (one part of it); it may not be there."""
    repository = repository_directory(file.repository, cache)
    commit = _commit(repository, file.revision) or file.revision
    return repository / "snapshots" / commit / file.filename


def lock_of(repository: str, etag: str, cache: Path) -> Path:
    """The lock that huggingface_hub takes for a file: its tools and we wait for each other."""
    return cache / ".locks" / repository_directory(repository, cache).name / f"{etag}.lock"


def blob_of(pointer: Path) -> Path:
    """The entry behind a snapshot's link; the file itself where links are not supported.

    One step only: the entry may in turn be a link into a store that repositories share, and there
    a file has another name.
    """
    target = pointer.parent / pointer.readlink() if pointer.is_symlink() else pointer
    return target.parent.resolve() / target.name


def published_sha256(pointer: Path) -> str | None:
    """The hub's own sha256 of a cached file, if the hub has one."""
    name = blob_of(pointer).name
    return name if _SHA256.fullmatch(name) else None


def unfinished_name(filename: str, etag: str) -> str:
    """What a file is called until it is whole: resumable, and recognisable in a listing.

    A spelling of our own: other tools write `.incomplete` files that are not filled from front to
    back, and continuing one of those would spoil it.
    """
    return f"{_flat(filename)}.{etag[:16]}.incomplete"


def damaged_name(filename: str) -> str:
    """What a file is called after its checksum turned out wrong."""
    return f"{_flat(filename)}.damaged"


def unfinished(file: HubFile, cache: Path) -> list[Path]:
    """What an interrupted download left of `file` (one part)."""
    name = _flat(file.filename)
    entries = _children(blobs_directory(file.repository, cache), "*.incomplete")
    return [
        entry
        for entry in entries
        if (match := _UNFINISHED.fullmatch(entry.name)) and match["name"] == name
    ]


def damaged(file: HubFile, cache: Path) -> list[Path]:
    """What was set aside of `file` (one part)."""
    name = damaged_name(file.filename)
    entries = _children(blobs_directory(file.repository, cache), "*.damaged")
    return [entry for entry in entries if entry.name == name]


def cached_models(cache: Path) -> Iterator[HubFile]:
    """Every GGUF in the cache, whole or begun; a split one by its first part."""
    for directory in _children(cache, "models--*--*"):
        repository = directory.name.removeprefix("models--").replace("--", "/", 1)
        files = [*_whole_files(directory, repository), *_begun_files(directory, repository)]
        yield from filter(_is_first_part, files)


def set_aside(file: HubFile, pointer: Path, cache: Path) -> Path:
    """Take a damaged file out of the cache without deleting it; returns where it is now.

    Its links go first, so that no tool ever sees one that leads nowhere.
    """
    blob = blob_of(pointer)
    aside = blobs_directory(file.repository, cache) / damaged_name(file.filename)
    aside.parent.mkdir(parents=True, exist_ok=True)
    snapshots = repository_directory(file.repository, cache) / "snapshots"
    for link in snapshots.rglob("*"):
        if link.is_symlink() and blob_of(link) == blob:
            link.unlink()
    return blob.replace(aside)


@dataclass(frozen=True, slots=True)
class Removal:
    """What would be deleted; nothing is until `execute`."""

    strategy: DeleteCacheStrategy | None
    leftovers: tuple[Path, ...]
    freed: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to delete."""
        return self.strategy is None and not self.leftovers

    def execute(self) -> None:
        """Delete it, links before the files that they lead to."""
        if self.strategy is not None:
            self.strategy.execute()
        for path in self.leftovers:
            path.unlink(missing_ok=True)


def plan_removal(files: Sequence[HubFile], cache: Path) -> Removal:
    """How to delete everything of `files`: whole, begun or set aside.

    Raises:
        ModelLoadFailed: huggingface_hub cannot make sense of the cache around one of them.
    """
    leftovers = tuple(
        path for file in files for path in (*unfinished(file, cache), *damaged(file, cache))
    )
    pointers = [pointer for file in files if (pointer := pointer_to(file, cache)).is_file()]
    strategy = _strategy(pointers, cache) if pointers else None
    freed = sum(path.stat().st_size for path in leftovers)
    return Removal(strategy, leftovers, freed + (strategy.expected_freed_size if strategy else 0))


def _strategy(pointers: list[Path], cache: Path) -> DeleteCacheStrategy:
    """huggingface_hub's own plan, which knows who else still needs a file's bytes."""
    from huggingface_hub import scan_cache_dir

    scan = scan_cache_dir(cache)
    blobs = {blob_of(pointer) for pointer in pointers}
    doomed = [
        file
        for repository in scan.repos
        for revision in repository.revisions
        for file in revision.files
        if file.blob_path in blobs
    ]
    if not doomed:
        raise ModelLoadFailed(pointers[0], "the cache around it is damaged")
    return scan.delete_files(*doomed)


def _whole_files(directory: Path, repository: str) -> Iterator[HubFile]:
    """Each file once, under the branch's name if the branch has it."""
    main = _commit(directory, DEFAULT_REVISION)
    seen: set[Path] = set()
    snapshots = _children(directory / "snapshots", "*")
    for snapshot in sorted(snapshots, key=lambda path: path.name != main):
        revision = DEFAULT_REVISION if snapshot.name == main else snapshot.name
        for pointer in sorted(snapshot.rglob("*.gguf")):
            if pointer.is_file() and (blob := blob_of(pointer)) not in seen:
                seen.add(blob)
                yield HubFile(repository, pointer.relative_to(snapshot).as_posix(), revision)


def _begun_files(directory: Path, repository: str) -> Iterator[HubFile]:
    for path in _children(directory / "blobs", "*.incomplete"):
        if match := _UNFINISHED.fullmatch(path.name):
            yield HubFile(repository, unquote(match["name"]))


def _is_first_part(file: HubFile) -> bool:
    try:
        split_parts(file.filename)
    except InvalidRequest:
        return False
    return True


def _commit(repository: Path, revision: str) -> str | None:
    ref = repository / "refs" / revision
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None


def _flat(filename: str) -> str:
    """A path inside a repository as one file name, readable back unless it is very long."""
    return quote(filename, safe="")[-_LONGEST_NAME:]


def _children(directory: Path, pattern: str) -> list[Path]:
    return sorted(directory.glob(pattern)) if directory.is_dir() else []
