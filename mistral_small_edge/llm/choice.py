"""All that is decided before anything is loaded, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_small_edge.gguf import read_header
from mistral_small_edge.llm import drafts
from mistral_small_edge.llm.calibrations import known_threads
from mistral_small_edge.llm.fingerprint import fingerprint_of_files
from mistral_small_edge.llm.setup import (
    choose_attention,
    choose_options,
    choose_packing,
    choose_projector,
    plan_memory,
    share_out,
)
from mistral_small_edge.memory import check
from mistral_small_edge.store.catalog import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.gguf import ModelHeader, ProjectorHeader
    from mistral_small_edge.llama.model import ModelOptions, WorkerShare
    from mistral_small_edge.llm.calibrations import Machine
    from mistral_small_edge.llm.drafts import DraftFile
    from mistral_small_edge.memory import MemoryPlan
    from mistral_small_edge.store.source import ModelFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which files are loaded, and how.

    Attributes:
        mark: of the model's own files, whatever computes them.
        sight: what the model sees with; None if it sees nothing.
        draft: what writes ahead of it; None if nothing does.
        memory: what is planned for all of it on this machine.
    """

    file: ModelFile
    header: ModelHeader
    mark: str
    options: ModelOptions
    sight: ProjectorHeader | None
    draft: DraftFile | None
    memory: MemoryPlan

    @property
    def parts(self) -> tuple[Path, ...]:
        """Every file that a seeded answer depends on, but for what writes ahead."""
        return _with_sight(self.file, self.sight)


def choose(
    model: str | Path,
    config: EngineConfig,
    machine: Machine,
    shares: tuple[WorkerShare, ...] | None = None,
) -> Choice:
    """What was asked for, and of what was left open the best for this machine.

    Args:
        shares: which layers the workers get, if that is known beforehand.

    Raises:
        EdgeError: there is no such file, none that can be read, too little memory, a worker that is of no use.
    """
    file = resolve(model)
    header, host = read_header(file.path), machine.host
    mark = fingerprint_of_files(file.parts)
    threads = None if machine.anew else known_threads(mark, host)
    options = choose_options(header, host, config, threads)
    sight = choose_projector(model, header, config)
    draft = drafts.choose(config, options)
    parts = _with_sight(file, sight)
    options = choose_attention(header, parts, machine, options, config, sight)
    memory = plan_memory(header, host, options, sight, draft)
    if config.workers:
        shares, memory = share_out(header, memory, host, config, shares)
        options = replace(options, workers=shares)
    elif not config.force:
        check(memory, host)
    options = choose_packing(header, parts, machine, options, config)
    return Choice(
        file=file,
        header=header,
        mark=mark,
        options=options,
        sight=sight,
        draft=draft,
        memory=memory,
    )


def _with_sight(file: ModelFile, sight: ProjectorHeader | None) -> tuple[Path, ...]:
    return (*file.parts, sight.path) if sight else file.parts
