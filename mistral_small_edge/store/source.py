"""What a `--model` string can mean: a file of the hub, of a Python package, or of this disk.

Names and addresses only. Nothing here looks at a disk or a network, and nothing knows which models
are published (`catalog`) or which of them are here (`cache`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.sampling_params import SamplingParams
    from mistral_small_edge.store.shape import ModelShape, ProjectorShape

HUB_PREFIX = "hf:"
DEFAULT_REVISION = "main"

_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
# huggingface_hub's rules for a repository's name, said before it can raise them at us.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the Hugging Face hub; a split one is named by its first part."""

    repository: str
    filename: str
    revision: str = DEFAULT_REVISION

    @property
    def address(self) -> str:
        """The string that `parse_hub_file` reads back."""
        revision = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"{HUB_PREFIX}{self.repository}{revision}/{self.filename}"

    @property
    def parts(self) -> tuple[HubFile, ...]:
        """Every file that makes up the model, in order."""
        return tuple(
            HubFile(self.repository, name, self.revision) for name in split_parts(self.filename)
        )


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file inside an installed Python package; `requirement` is what pip would install."""

    package: str
    filename: str
    requirement: str


Location = HubFile | PackageFile | Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """One model that can be asked for.

    Attributes:
        name: as people call it: `mistral-small-3.2:Q4_K_M`, an `hf:` address, a path.
        locations: where it can be, in order of preference; any one of them will do.
        size: bytes of all parts at the first location, None if nobody wrote it down.
        approximate: `size` is a round figure.
        sha256: of the file, where the catalog knows it.
        sampling: what the model's publisher recommends.
        shape: what its header will say, where the catalog knows it.
    """

    name: str
    locations: tuple[Location, ...]
    size: int | None = None
    approximate: bool = False
    sha256: str | None = None
    sampling: SamplingParams | None = None
    shape: ModelShape | ProjectorShape | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model that is on this disk, whole, at one of its source's locations."""

    name: str
    location: Location
    parts: tuple[Path, ...]
    size: int
    sampling: SamplingParams | None = None

    @property
    def path(self) -> Path:
        """What llama.cpp opens; it finds the other parts by their names."""
        return self.parts[0]


def split_parts(filename: str) -> tuple[str, ...]:
    """Every part of `filename`, itself alone if it is not split.

    Raises:
        InvalidRequest: it names another part than the first.
    """
    match = _SPLIT.search(filename)
    if match is None:
        return (filename,)
    stem, count = filename[: match.start()], int(match[2])
    suffix = filename[match.start(2) + 5 :]
    names = tuple(f"{stem}-{part:05}-of-{count:05}{suffix}" for part in range(1, count + 1))
    if int(match[1]) != 1 or not names:
        first = f"{stem}-00001-of-{count:05}{suffix}"
        raise InvalidRequest(
            f"model is {filename!r}, part {int(match[1])} of a split file; name its first part: "
            f"{first}",
            "model",
        )
    return names


def parse_hub_file(address: str) -> HubFile:
    """Read `hf:owner/repo[@revision]/path/file.gguf`.

    Raises:
        InvalidRequest: it is not of that form.
    """
    owner, _, rest = address.removeprefix(HUB_PREFIX).partition("/")
    repo, _, filename = rest.partition("/")
    repo, at, revision = repo.partition("@")
    repository = f"{owner}/{repo}"
    revision = revision if at else DEFAULT_REVISION
    if not (
        _is_repository(repository) and _REVISION.fullmatch(revision) and _is_filename(filename)
    ):
        raise InvalidRequest(
            f"model is {address!r}; an address on the hub looks like hf:owner/repo/file.gguf",
            "model",
        )
    split_parts(filename)
    return HubFile(repository, filename, revision)


def _is_repository(name: str) -> bool:
    return (
        len(name) <= 96
        and _REPOSITORY.fullmatch(name) is not None
        and "--" not in name
        and ".." not in name
        and not name.endswith((".git", "-", "."))
    )


def _is_filename(name: str) -> bool:
    """A relative path to a `.gguf` that stays inside the repository, whoever wrote it."""
    return (
        name.lower().endswith(".gguf")
        and not any(step in ("", ".", "..") for step in name.split("/"))
        and "\\" not in name
        and name.isprintable()
    )
