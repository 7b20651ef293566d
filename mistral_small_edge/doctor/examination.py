"""All probes, one after the other, and the censor over what they say."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge import places
from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.doctor import hardware, holdings, software, speed
from mistral_small_edge.doctor.privacy import censor, environment
from mistral_small_edge.doctor.report import Report
from mistral_small_edge.doctor.trial import trial
from mistral_small_edge.host import choose_threads, free_swap, probe_host, processor_flags
from mistral_small_edge.llama.build import linked_build
from mistral_small_edge.llm.calibrations import everything_known
from mistral_small_edge.store.cache import survey
from mistral_small_edge.store.catalog import Catalog
from mistral_small_edge.store.checksums import Checksums
from mistral_small_edge.store.hub_cache import cache_directory as hub_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mistral_small_edge.doctor.report import Section
    from mistral_small_edge.store.cache import Stored


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an examination looks at besides this program: all that a test would lay out anew.

    `user` is empty if nobody knows, `home` None if there is none.
    """

    root: Path
    variables: Mapping[str, str]
    home: Path | None
    user: str

    @classmethod
    def here(cls) -> Surroundings:
        """Where we run."""
        return cls(Path("/"), dict(os.environ), _home(), _user())


def examine(
    around: Surroundings,
    *,
    verify: Callable[[int, int], None] | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> Report:
    """Look at everything, in some seconds, or in minutes if models are verified.

    Args:
        verify: see `holdings.models`.
        on_step: told what comes next.
    """
    clean = censor(around.variables, around.home, around.user)
    return Report(tuple(_sections(around, verify, on_step))).mapped(clean)


def _sections(
    around: Surroundings,
    verify: Callable[[int, int], None] | None,
    on_step: Callable[[str], None],
) -> Iterator[Section]:
    host = probe_host(around.root)
    catalog = Catalog.load()
    stored = survey(catalog.sources())
    usual = catalog.find(DEFAULT_MODEL)  # what figures are told for
    size = usual.size or 0
    yield software.versions()
    yield software.build(linked_build(), processor_flags(around.root))
    yield hardware.threads(host)
    yield hardware.memory(host, around.root, swap=free_swap())
    yield hardware.clock(around.root)
    on_step("Reading memory")
    yield speed.memory_speed(choose_threads(host), size, usual.name)
    on_step("Reading the disk")
    yield speed.disk_speed(_files(stored), hub_directory(), size, usual.name)
    on_step("Checking models")
    yield holdings.models(stored, Checksums(), verify)
    yield holdings.remembered(everything_known())
    yield holdings.folders(_folders())
    yield environment(around.variables)
    on_step("Asking the toy model")
    yield trial()


def _files(stored: Sequence[Stored]) -> list[Path]:
    return [part for each in stored if each.file is not None for part in each.file.parts]


def _folders() -> dict[str, Path | None]:
    try:
        own: dict[str, Path | None] = {
            "caches": places.cache_directory(),
            "data": places.data_directory(),
        }
    except OSError:
        own = {"caches": None, "data": None}
    return {**own, "hub's cache": hub_directory()}


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        return ""
