"""The published builds, read from models/catalog.toml, and the way from a name to a file.

`find` says what a `--model` string means, `resolve` where on this disk it is. Neither ever asks a
network. The data file is checked strictly when it is read: a key that nobody reads is an error,
since it is a misspelt one.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mistral_small_edge.errors import InvalidRequest, ModelNotFound, NotCached
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.store.cache import locate, look
from mistral_small_edge.store.shape import model_shape, projector_shape
from mistral_small_edge.store.source import (
    HUB_PREFIX,
    HubFile,
    ModelFile,
    ModelSource,
    PackageFile,
    parse_hub_file,
    split_parts,
)
from mistral_small_edge.store.tables import (
    as_table,
    nothing_left,
    take,
    take_positive,
    take_strings,
    take_table,
    take_tables,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mistral_small_edge.store.cache import Stored
    from mistral_small_edge.store.shape import ModelShape, ProjectorShape
    from mistral_small_edge.store.source import Location
    from mistral_small_edge.store.tables import Table

PROJECTOR = "projector"  # what a model's projector is called, in the place of a build


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One published file: its quantization, where it is, how large (see the data file's head).

    `shape` is what its header will say, a model's or a projector's.
    """

    quant: str
    locations: tuple[Location, ...]
    size: int
    shape: ModelShape | ProjectorShape
    approximate: bool = False
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One model and its builds.

    Attributes:
        sampling: what its publisher recommends.
        default: the quantization meant when none is named.
        projector: the file that lets it see, if it can.
    """

    name: str
    aliases: tuple[str, ...]
    licence: str
    sampling: SamplingParams
    default: str
    builds: tuple[Build, ...]
    projector: Build | None = None

    def sources(self) -> Iterator[ModelSource]:
        """Every build, and the projector, as something that can be asked for."""
        return map(self._source, self._files())

    def choices(self) -> tuple[ModelSource, ...]:
        """Every build: the default, then the next smaller ones, then the next larger ones."""
        (default,) = (build for build in self.builds if build.quant.lower() == self.default.lower())
        smaller = [build for build in self.builds if build.size < default.size]
        larger = [build for build in self.builds if build.size >= default.size]
        larger.remove(default)
        ordered = (default, *_by_size(smaller)[::-1], *_by_size(larger))
        return tuple(map(self._source, ordered))

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
            shape=build.shape,
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
            tables = take_tables(document, "model")
            entries = tuple(_entry(table, path.parent) for table in tables)
            nothing_left(document)
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
        return self.choices(name)[0]

    def choices(self, name: str) -> tuple[ModelSource, ...]:
        """Everything that `name` may mean, the likeliest first: all builds where it names none.

        Raises:
            ModelNotFound, InvalidRequest: as `find`.
        """
        if name.startswith(HUB_PREFIX):
            file = parse_hub_file(name)
            return (ModelSource(name=file.address, locations=(file,)),)
        head, colon, quant = name.partition(":")
        for entry in self.entries:
            if head.lower() in _spellings(entry):
                return (entry.source(quant),) if colon else entry.choices()
        if "/" in name or name.lower().endswith(".gguf"):
            return (_local(Path(name)),)
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

    Where `name` leaves the build open, it is the likeliest of those that are here.

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
    if isinstance(name, Path):
        return locate(_local(name), cache)
    choices = (catalog or Catalog.load()).choices(name)
    if len(choices) == 1:
        return locate(choices[0], cache)
    begun = likeliest_here(choices, cache)
    if begun is None:
        raise NotCached(name, "none of its builds is on this disk")
    return begun.file or locate(begun.source, cache)


def likeliest_here(choices: Sequence[ModelSource], cache: Path | None = None) -> Stored | None:
    """The first of `choices` that is on this disk, or else that was begun; None if none was."""
    stored = [look(source, cache) for source in choices]
    whole = (each for each in stored if each.file is not None)
    return next(whole, next((each for each in stored if each.fetched), None))


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


def _by_size(builds: Iterable[Build]) -> list[Build]:
    return sorted(builds, key=lambda build: build.size)


def _check_names(entries: tuple[CatalogEntry, ...]) -> None:
    spellings = [spelling for entry in entries for spelling in _spellings(entry)]
    for spelling in spellings:
        if spellings.count(spelling) > 1:
            raise ValueError(f"two models are called {spelling!r}")


def _entry(table: Table, folder: Path) -> CatalogEntry:
    projector, shape = table.pop("projector", None), model_shape(take_table(table, "shape"))
    entry = CatalogEntry(
        name=take(table, "name", str),
        aliases=tuple(take_strings(table, "aliases")),
        licence=take(table, "licence", str),
        sampling=_sampling(take_table(table, "sampling")),
        default=take(table, "default", str),
        builds=tuple(_build(build, folder, shape) for build in take_tables(table, "build")),
        projector=None
        if projector is None
        else _projector(as_table(projector, "projector"), folder),
    )
    nothing_left(table)
    quants = [build.quant.lower() for build in entry.builds]
    if len(set(quants)) != len(quants):
        raise ValueError(f"{entry.name} has two builds of one quant")
    if entry.default.lower() not in quants:
        raise ValueError(f"{entry.name}: default is {entry.default!r}, which is no build of it")
    return entry


def _projector(table: Table, folder: Path) -> Build:
    return _build(table, folder, projector_shape(take_table(table, "shape")))


def _build(table: Table, folder: Path, shape: ModelShape | ProjectorShape) -> Build:
    build = Build(
        quant=take(table, "quant", str),
        size=take_positive(table, "size"),
        approximate=take(table, "approximate", bool) if "approximate" in table else False,
        sha256=take(table, "sha256", str) if "sha256" in table else None,
        locations=_locations(table, folder),
        shape=shape,
    )
    nothing_left(table)
    return build


def _locations(table: Table, folder: Path) -> tuple[Location, ...]:
    if "beside" in table:
        return (folder / take(table, "beside", str),)
    if "package" in table:
        file = take(table, "file", str)
        return (PackageFile(take(table, "package", str), file, take(table, "requirement", str)),)
    try:
        files: tuple[HubFile, ...] = tuple(map(parse_hub_file, take_strings(table, "sources")))
    except InvalidRequest as error:
        raise ValueError(f"sources: {error}") from error
    if not files:
        raise ValueError("sources is empty")
    return files


def _sampling(table: Table) -> SamplingParams:
    temperature, top_p = take(table, "temperature", float), take(table, "top_p", float)
    nothing_left(table)
    try:
        return SamplingParams(temperature=temperature, top_p=top_p)
    except InvalidRequest as error:
        raise ValueError(f"sampling: {error}") from error
