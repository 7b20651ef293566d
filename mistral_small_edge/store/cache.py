"""What of each model is on this disk: in the hub's cache, in a Python package, at a path.

`locate` wants the whole file and says what is in the way; `look` and `survey` only report. Nothing
here asks a network or changes a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.errors import (
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
    NotCached,
    PackageMissing,
    readable_size,
)
from mistral_small_edge.store.hub_cache import (
    cache_directory,
    cached_models,
    pointer_to,
    unfinished,
)
from mistral_small_edge.store.source import (
    HubFile,
    ModelFile,
    ModelSource,
    PackageFile,
    split_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_small_edge.store.source import Location

_SUGGESTIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What this disk has of one model: the whole file, or `fetched` bytes of an unfinished one."""

    source: ModelSource
    file: ModelFile | None
    fetched: int


def locate(source: ModelSource, cache: Path | None = None) -> ModelFile:
    """The whole file behind `source`, at the first location that has it.

    Raises:
        ModelNotFound, NotCached, PackageMissing, ModelLoadFailed, InvalidRequest: it is not here;
            see `catalog.resolve`.
    """
    cache = cache_directory(cache)
    for location in source.locations:
        parts = _whole(location, cache)
        if parts:
            return ModelFile(
                name=source.name,
                location=location,
                parts=parts,
                size=sum(part.stat().st_size for part in parts),
                sampling=source.sampling,
            )
    raise _absence(source, cache)


def look(source: ModelSource, cache: Path | None = None) -> Stored:
    """What there is of `source`; absence is an answer here, not an error."""
    cache = cache_directory(cache)
    try:
        file = locate(source, cache)
    except (NotCached, PackageMissing, ModelNotFound):
        return Stored(source=source, file=None, fetched=_fetched(source, cache))
    return Stored(source=source, file=file, fetched=file.size)


def survey(sources: Iterable[ModelSource], cache: Path | None = None) -> list[Stored]:
    """What there is of each of `sources`, then of every other GGUF in the hub's cache."""
    cache = cache_directory(cache)
    known = list(sources)
    named = {location for source in known for location in source.locations}
    others = dict.fromkeys(file for file in cached_models(cache) if file not in named)
    known += [ModelSource(name=file.address, locations=(file,)) for file in others]
    return [look(source, cache) for source in known]


def hub_files(source: ModelSource) -> list[HubFile]:
    """Every part of `source` at every place of the hub that has it; empty if none does."""
    files = (location for location in source.locations if isinstance(location, HubFile))
    return [part for file in files for part in file.parts]


def _whole(location: Location, cache: Path) -> tuple[Path, ...]:
    """All parts at `location`, or nothing."""
    match location:
        case HubFile():
            pointers = tuple(pointer_to(part, cache) for part in location.parts)
            return pointers if all(pointer.is_file() for pointer in pointers) else ()
        case PackageFile():
            path = _package_path(location)
            return (path,) if path is not None and path.is_file() else ()
        case Path():
            return _local_parts(location)


def _package_path(file: PackageFile) -> Path | None:
    """Found without importing the package, which would pull in what it depends on."""
    spec = find_spec(file.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / file.filename


def _local_parts(path: Path) -> tuple[Path, ...]:
    try:
        if path.is_dir():
            raise InvalidRequest(f"model is {str(path)!r}, a directory; name the file", "model")
        if not path.exists():
            raise ModelNotFound(str(path), _neighbours(path))
        parts = tuple(path.with_name(name) for name in split_parts(path.name))
        for part in parts:
            if not part.exists():
                raise ModelLoadFailed(path, f"it is split, and its part {part.name} is missing")
    except OSError as error:  # a directory that may not be entered, a name that is too long
        raise ModelLoadFailed(path, str(error.strerror)) from error
    return parts


def _neighbours(path: Path) -> list[str]:
    """GGUF files beside a path that does not exist: one of them may be meant."""
    if not path.parent.is_dir():
        return []
    entries = (entry for entry in path.parent.iterdir() if entry.suffix.lower() == ".gguf")
    return [str(entry) for entry in sorted(entries)][:_SUGGESTIONS]


def _absence(source: ModelSource, cache: Path) -> NotCached | PackageMissing:
    first = source.locations[0]
    if isinstance(first, PackageFile):
        return PackageMissing(source.name, first.requirement)
    fetched = _fetched(source, cache)
    if not fetched:
        return NotCached(source.name, "it is not on this disk")
    of = f" of {readable_size(source.size)}" if source.size else ""
    return NotCached(source.name, f"only {readable_size(fetched)}{of} are on this disk")


def _fetched(source: ModelSource, cache: Path) -> int:
    """Bytes of a model that is not whole: finished parts, and what there is of the others."""
    paths: list[Path] = []
    for part in hub_files(source):
        paths += [pointer_to(part, cache), *unfinished(part, cache)]
    return sum(path.stat().st_size for path in paths if path.is_file())
