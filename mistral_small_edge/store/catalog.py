"""The published builds, read from models/catalog.toml, and the way from a name to a file.

`find` says what a `--model` string means, `resolve` where on this disk it is. Neither ever asks a
network. The data file is checked strictly when it is read: a key that nobody reads is an error,
since it is a misspelt one.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from mistral_small_edge.errors import InvalidRequest, ModelNotFound
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.store.cache import locate, look
from mistral_small_edge.store.source import (
    HUB_PREFIX,
    HubFile,
    ModelFile,
    ModelSource,
    PackageFile,
    parse_hub_file,
    split_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.store.source import Location

T = TypeVar("T")
PROJECTOR = "projector"  # what a model's projector is called, in the place of a build


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One published file: its quantization, where it is, how large (see the data file's head)."""

    quant: str
    locations: tuple[Location, ...]
    size: int
    approximate: bool = False
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One model and its builds.

    Attributes:
        context_length: tokens the model was trained on.
        sampling: what its publisher recommends.
        default: the quantization meant when none is named.
        projector: the file that lets it see, if it can.
    """

    name: str
    aliases: tuple[str, ...]
    licence: str
    context_length: int
    sampling: SamplingParams
    default: str
    builds: tuple[Build, ...]
    projector: Build | None = None

    def sources(self) -> Iterator[ModelSource]:
        """Every build, and the projector, as something that can be asked for."""
        return map(self._source, self._files())

    def has(self, location: Location | None) -> bool:
        """Whether a build is published there."""
        return any(location in build.locations for build in self.builds)

    def source(self, quant: str) -> ModelSource:
        """The build called `quant`, in any spelling.

        Raises:
            ModelNotFound: there is none; it lists those that exist.
        """
        for build in self._files():
            if build.quant.lower() == quant.lower():
                return self._source(build)
        known = [f"{self.name}:{build.quant}" for build in self.builds]
        raise ModelNotFound(f"{self.name}:{quant}", known)

    def _files(self) -> tuple[Build, ...]:
        """The builds, and the projector under a name of its own."""
        if self.projector is None:
            return self.builds
        return (*self.builds, replace(self.projector, quant=PROJECTOR))

    def _source(self, build: Build) -> ModelSource:
        return ModelSource(
            name=f"{self.name}:{build.quant}",
            locations=build.locations,
            size=build.size,
            approximate=build.approximate,
            sha256=build.sha256,
            sampling=self.sampling,
        )


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models that have a name of their own."""

    entries: tuple[CatalogEntry, ...]

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the data file.

        Raises:
            ValueError: it is not what it should be; the text says where.
        """
        path = path or _data_file()
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
            tables = _tables(document, "model")
            entries = tuple(_entry(table, path.parent) for table in tables)
            _nothing_left(document)
            _check_names(entries)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return cls(entries)

    def find(self, name: str) -> ModelSource:
        """What `name` means: a name, `name:QUANT`, a path, or an `hf:` address.

        Raises:
            ModelNotFound: no such name or build; it lists those that exist.
            InvalidRequest: a malformed address, or a part of a split file that is not the first.
        """
        if name.startswith(HUB_PREFIX):
            file = parse_hub_file(name)
            return ModelSource(name=file.address, locations=(file,))
        head, colon, quant = name.partition(":")
        for entry in self.entries:
            if head.lower() in _spellings(entry):
                return entry.source(quant if colon else entry.default)
        if "/" in name or name.lower().endswith(".gguf"):
            return _local(Path(name))
        raise ModelNotFound(name, [entry.name for entry in self.entries])

    def find_projector(self, name: str) -> ModelSource | None:
        """The projector that goes with the model `name`; None if none is known."""
        address = parse_hub_file(name) if name.startswith(HUB_PREFIX) else None
        for entry in self.entries:
            named = name.partition(":")[0].lower() in _spellings(entry)
            if entry.projector and (named or entry.has(address)):
                return entry.source(PROJECTOR)
        return None

    def sources(self) -> Iterator[ModelSource]:
        """Every file of every model."""
        for entry in self.entries:
            yield from entry.sources()


def resolve(
    name: str | Path, *, cache: Path | None = None, catalog: Catalog | None = None
) -> ModelFile:
    """The file on this disk that `name` means; never asks a network.

    Args:
        name: what `Catalog.find` takes, or a path.
        cache: the hub's cache directory; None takes the one that HF_HOME or HF_HUB_CACHE say.
        catalog: None reads the published one.

    Raises:
        ModelNotFound: no such name in the catalog, no such file on disk.
        NotCached: it is on the hub, and not (or not whole) in the cache.
        PackageMissing: it comes in a Python package that is not installed.
        ModelLoadFailed: a later part of a split file is missing.
        InvalidRequest: `name` is malformed.
    """
    source = _local(name) if isinstance(name, Path) else (catalog or Catalog.load()).find(name)
    return locate(source, cache)


def resolve_projector(
    model: str | Path,
    projector: str | Path | None = None,
    *,
    cache: Path | None = None,
    catalog: Catalog | None = None,
) -> ModelFile | None:
    """The projector on this disk that goes with `model`; None if there is none.

    Args:
        projector: one of the user's own, which must be there: a path, or an `hf:` address.

    Raises:
        What `resolve` raises for `projector`.
    """
    if projector is not None:
        own = str(projector)
        return resolve(own if own.startswith(HUB_PREFIX) else Path(projector), cache=cache)
    if isinstance(model, Path):
        return None
    source = (catalog or Catalog.load()).find_projector(model)
    return None if source is None else look(source, cache).file


def _local(path: Path) -> ModelSource:
    split_parts(path.name)
    return ModelSource(name=str(path), locations=(path.expanduser(),))


def _data_file() -> Path:
    """Inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "models" / "catalog.toml"
    return inside if inside.exists() else package.parent / "models" / "catalog.toml"


def _spellings(entry: CatalogEntry) -> tuple[str, ...]:
    return (entry.name.lower(), *(alias.lower() for alias in entry.aliases))


def _check_names(entries: tuple[CatalogEntry, ...]) -> None:
    spellings = [spelling for entry in entries for spelling in _spellings(entry)]
    for spelling in spellings:
        if spellings.count(spelling) > 1:
            raise ValueError(f"two models are called {spelling!r}")


def _entry(table: dict[str, object], folder: Path) -> CatalogEntry:
    projector = table.pop("projector", None)
    entry = CatalogEntry(
        name=_take(table, "name", str),
        aliases=tuple(_strings(table, "aliases")),
        licence=_take(table, "licence", str),
        context_length=_positive(table, "context_length"),
        sampling=_sampling(_table(table, "sampling")),
        default=_take(table, "default", str),
        builds=tuple(_build(build, folder) for build in _tables(table, "build")),
        projector=None if projector is None else _build(_as_table(projector, "projector"), folder),
    )
    _nothing_left(table)
    quants = [build.quant.lower() for build in entry.builds]
    if len(set(quants)) != len(quants):
        raise ValueError(f"{entry.name} has two builds of one quant")
    if entry.default.lower() not in quants:
        raise ValueError(f"{entry.name}: default is {entry.default!r}, which is no build of it")
    return entry


def _build(table: dict[str, object], folder: Path) -> Build:
    build = Build(
        quant=_take(table, "quant", str),
        size=_positive(table, "size"),
        approximate=_take(table, "approximate", bool) if "approximate" in table else False,
        sha256=_take(table, "sha256", str) if "sha256" in table else None,
        locations=_locations(table, folder),
    )
    _nothing_left(table)
    return build


def _locations(table: dict[str, object], folder: Path) -> tuple[Location, ...]:
    if "beside" in table:
        return (folder / _take(table, "beside", str),)
    if "package" in table:
        file = _take(table, "file", str)
        return (PackageFile(_take(table, "package", str), file, _take(table, "requirement", str)),)
    try:
        files: tuple[HubFile, ...] = tuple(map(parse_hub_file, _strings(table, "sources")))
    except InvalidRequest as error:
        raise ValueError(f"sources: {error}") from error
    if not files:
        raise ValueError("sources is empty")
    return files


def _sampling(table: dict[str, object]) -> SamplingParams:
    temperature, top_p = _take(table, "temperature", float), _take(table, "top_p", float)
    _nothing_left(table)
    try:
        return SamplingParams(temperature=temperature, top_p=top_p)
    except InvalidRequest as error:
        raise ValueError(f"sampling: {error}") from error


def _take(table: dict[str, object], key: str, kind: type[T]) -> T:
    """Remove and return `key`, so that what remains in the end is what nobody knows."""
    value = table.pop(key, None)
    if type(value) is not kind:
        raise ValueError(f"{key} is {value!r}; it must be of type {kind.__name__}")
    return value


def _positive(table: dict[str, object], key: str) -> int:
    value = _take(table, key, int)
    if value <= 0:
        raise ValueError(f"{key} is {value}; it must be positive")
    return value


def _strings(table: dict[str, object], key: str) -> list[str]:
    values = _take(table, key, list)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key} must hold strings")
    return values


def _table(table: dict[str, object], key: str) -> dict[str, object]:
    return _as_table(table.pop(key, None), key)


def _tables(table: dict[str, object], key: str) -> list[dict[str, object]]:
    return [_as_table(value, key) for value in _take(table, key, list)]


def _as_table(value: object, key: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r}; it must be a table")  # noqa: TRY004 - one error kind
    return value


def _nothing_left(table: dict[str, object]) -> None:
    if table:
        raise ValueError(f"unknown key {', '.join(sorted(table))}")
