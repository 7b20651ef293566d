"""What a plan is made of, brought together: builds and their headers, and the machine.

A header is the file's own where the file is on this disk, and where it is not, what the catalog
foretells. Commands that leave the choice of a build open ask here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.advice import Candidate, Sight, Wish, recommend
from mistral_small_edge.bandwidth import ReadingProbe
from mistral_small_edge.errors import NotCached
from mistral_small_edge.gguf import ModelHeader, ProjectorHeader, read_header, read_projector
from mistral_small_edge.host import choose_threads
from mistral_small_edge.machines import this_machine
from mistral_small_edge.memory import PROGRAM_BYTES
from mistral_small_edge.store.cache import locate, look
from mistral_small_edge.store.catalog import Catalog
from mistral_small_edge.store.hub_cache import cache_directory
from mistral_small_edge.store.shape import ModelShape, ProjectorShape
from mistral_small_edge.workers import Lent, WorkerAddress, parse_workers, probe_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.advice import Recommendation
    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.machines import Machine
    from mistral_small_edge.store.source import ModelSource


@dataclass(frozen=True, slots=True)
class Build:
    """A candidate and its file: bytes, whether they are a round figure, and whether it is here."""

    candidate: Candidate
    size: int
    approximate: bool = False
    here: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The builds that a name leaves open, the usual one first, and what they see with."""

    builds: tuple[Build, ...]
    sight: Sight | None

    def recommend(self, machine: Machine, wish: Wish) -> Recommendation | None:
        """The build for `machine`; None if none can be run there.

        Raises:
            InvalidRequest: the model cannot do what is asked.
        """
        return recommend([build.candidate for build in self.builds], machine, self.sight, wish)


def survey(model: str, catalog: Catalog | None = None) -> Choice:
    """What `model` may mean.

    Raises:
        ModelNotFound, NotCached, InvalidRequest: it means nothing, or nothing whose shape is known.
        ModelLoadFailed: a file that is here is damaged.
    """
    catalog = catalog or Catalog.load()
    projector = catalog.find_projector(model)
    return Choice(
        builds=tuple(map(_build, catalog.choices(model))),
        sight=None if projector is None else _sight(projector),
    )


def settled(model: str, config: EngineConfig, machine: Machine | None = None) -> tuple[str, str]:
    """The build to run where `model` leaves it open, and why it is that one.

    Of those on this disk the one that suits the machine. The reason is empty where there was nothing to
    choose, or the usual one was chosen.

    Args:
        machine: None is this one; how fast it is plays no part.

    Raises:
        ModelNotFound, InvalidRequest, ModelLoadFailed: as `survey`.
        WorkerError: a worker that `config` names is of no use.
    """
    usual, *others = Catalog.load().choices(model)
    if not others:
        return model, ""
    choice = survey(model)
    here = [build for build in choice.builds if build.here]
    if not here:
        return model, ""  # whoever resolves it says so
    machine = machine or this_machine(cache_directory())
    if config.workers:
        machine = with_workers(machine, config.workers)
    taken = Choice(tuple(here), choice.sight).recommend(
        machine,
        Wish(
            context_length=config.context_length,
            kv_type=config.kv_type,
            vision=None if config.vision else False,
        ),
    )
    if taken is None:  # it is refused with the numbers
        return here[0].candidate.name, ""
    name = taken.outlook.candidate.name
    return name, "" if name == usual.name else taken.reason


def measured_machine(bandwidth: float | None = None, models: Path | None = None) -> Machine:
    """This one; memory's speed is measured for a moment, unless it is told.

    Args:
        bandwidth: bytes a second.
        models: where files are to go; None is the hub's cache.
    """
    machine = this_machine(models or cache_directory())
    if bandwidth is not None:
        return machine.reading_at(bandwidth, "as you say")
    threads = choose_threads(machine.host)
    measured = ReadingProbe(threads).measure()
    return machine.reading_at(measured, f"measured just now, {threads} threads")


def with_workers(machine: Machine, workers: Sequence[str]) -> Machine:
    """`machine` with what those at the addresses `workers` lend just now.

    Raises:
        InvalidRequest: an address is none.
        WorkerError: a worker is of no use.
    """
    return machine.with_workers(probe_all(parse_workers(workers)))


def with_likes(machine: Machine, others: int) -> Machine:
    """`machine` with so many of its kind beside it, on which nothing runs but a worker."""
    host = machine.host
    free = max(0, host.available_memory - PROGRAM_BYTES)
    return machine.with_workers(
        [
            Lent(WorkerAddress(f"box-{number}"), free, host.total_memory)
            for number in range(2, others + 2)
        ]
    )


def _build(source: ModelSource) -> Build:
    stored = look(source)
    if stored.file is not None:
        header = read_header(stored.file.path)
        return Build(Candidate(name=source.name, header=header), stored.file.size, here=True)
    if not isinstance(source.shape, ModelShape) or source.size is None:
        locate(source)  # says why it is not here
        raise NotCached(source.name, "it is not on this disk, and nobody wrote down its shape")
    candidate = Candidate(
        name=source.name,
        header=foretold_model(source.name, source.size, source.shape),
        missing=max(0, source.size - stored.fetched),
    )
    return Build(candidate, source.size, source.approximate)


def _sight(source: ModelSource) -> Sight | None:
    stored = look(source)
    if stored.file is not None:
        return Sight(read_projector(stored.file.path))
    if not isinstance(source.shape, ProjectorShape) or source.size is None:
        return None
    missing = max(0, source.size - stored.fetched)
    return Sight(foretold_projector(source.name, source.size, source.shape), missing)


def foretold_model(name: str, size: int, shape: ModelShape) -> ModelHeader:
    """The header of a file of `size` bytes that is not here, as far as memory and speed ask for it.

    Its vocabulary and names, some megabytes, are taken for weights; the embedding for as exact as
    the other matrices, which is right to a hundredth of what a token reads.
    """
    return ModelHeader(
        architecture="",
        name=name,
        quantization=name.rpartition(":")[2],
        block_count=shape.block_count,
        embedding_length=shape.embedding_length,
        feed_forward_length=shape.feed_forward_length,
        head_count=shape.head_count,
        head_count_kv=shape.head_count_kv,
        key_length=shape.key_length,
        value_length=shape.value_length,
        context_length=shape.context_length,
        vocab_size=shape.vocab_size,
        has_float_matrices=False,
        chat_template=None,
        parts=(),
        parameter_bytes=size,
        layer_bytes=(round(size * shape.layer_share),) * shape.block_count,
        step_bytes=round(size * shape.computed_share),
        file_size=size,
    )


def foretold_projector(name: str, size: int, shape: ProjectorShape) -> ProjectorHeader:
    """The same of a projector."""
    return ProjectorHeader(
        path=Path(name),
        projection_dim=shape.projection_dim,
        block_count=shape.block_count,
        embedding_length=shape.embedding_length,
        feed_forward_length=shape.feed_forward_length,
        head_count=shape.head_count,
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        spatial_merge_size=shape.spatial_merge_size,
        quantization="",
        parameter_bytes=size,
        file_size=size,
    )
