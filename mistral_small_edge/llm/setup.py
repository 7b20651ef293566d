"""What is chosen for a file on this machine where the caller left it open, and how it is spoken to."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_small_edge.chat.jinja_template import JinjaTemplate
from mistral_small_edge.chat.tekken_v11 import TekkenV11, speaks_v11
from mistral_small_edge.config import DEFAULT_CONTEXT_LENGTH, MOST_PROMPT_MEMORY, EngineConfig
from mistral_small_edge.engine.gathering import Gathering
from mistral_small_edge.engine.passes import Passes
from mistral_small_edge.engine.prefix_memory import PrefixMemory
from mistral_small_edge.engine.prefix_store import PrefixStore
from mistral_small_edge.errors import InvalidRequest, ModelLoadFailed
from mistral_small_edge.gguf import read_projector, read_row_break
from mistral_small_edge.host import Host, available_memory, choose_threads
from mistral_small_edge.llama.accelerator import accelerators
from mistral_small_edge.llama.model import ModelOptions, WorkerShare
from mistral_small_edge.llama.projector import Projector, ProjectorOptions
from mistral_small_edge.llama.vector_cache import VectorCache
from mistral_small_edge.llm.calibrations import attention, packing
from mistral_small_edge.llm.fingerprint import fingerprint, fingerprint_of_sight
from mistral_small_edge.memory import (
    MemoryPlan,
    choose_flash_attention,
    kv_bytes_per_token,
    plan,
    step_bytes,
)
from mistral_small_edge.store.catalog import resolve_projector
from mistral_small_edge.workers import check_placement, parse_workers, place, probe_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mistral_small_edge.chat.dialect import Dialect
    from mistral_small_edge.engine.calibration import StepCosts
    from mistral_small_edge.gguf import ModelHeader, ProjectorHeader
    from mistral_small_edge.llama.model import Model
    from mistral_small_edge.llama.tokenizer import LlamaTokenizer
    from mistral_small_edge.llm.calibrations import Machine
    from mistral_small_edge.llm.drafts import DraftFile

_COPY_SHARE = 4  # of the memory that is free: a quarter
_MOVED = (
    10  # bytes that a step reads in the time in which one is copied out of a slot and into another
)
_ATTENDED = 2  # the same of one that is attended to


def choose_options(
    header: ModelHeader, host: Host, config: EngineConfig, threads: int | None = None
) -> ModelOptions:
    """Every choice that the caller left open, made for this file on this machine.

    Args:
        threads: as many as were measured to be the fastest, if that was done.
    """
    trained = header.context_length
    context_length = config.context_length or min(DEFAULT_CONTEXT_LENGTH, trained)
    if context_length > trained:
        raise InvalidRequest(
            f"context_length is {context_length}; the model was trained on {trained}",
            "context_length",
        )
    flash_attention = choose_flash_attention(
        header,
        context_length=context_length,
        kv_type=config.kv_type,
        prefill_chunk=config.prefill_chunk,
        wanted=config.flash_attention,
    )
    return ModelOptions(
        context_length=context_length,
        max_sequences=config.max_sequences,
        prefill_chunk=config.prefill_chunk,
        threads=config.threads or threads or choose_threads(host),
        gpu_layers=choose_gpu_layers(header, config),
        kv_type=config.kv_type,
        flash_attention=flash_attention,
        mlock=config.mlock,
        float_matrices=header.has_float_matrices,
    )


def choose_gpu_layers(header: ModelHeader, config: EngineConfig) -> int:
    """How many layers an accelerator computes: as asked, else all on Apple Metal and none elsewhere.

    Raises:
        InvalidRequest: some are asked for, and there is none.
    """
    if config.gpu_layers is None:
        return header.block_count + 1 if sys.platform == "darwin" and accelerators() else 0
    if config.gpu_layers and not accelerators():
        raise InvalidRequest(
            f"gpu_layers is {config.gpu_layers}, and llama.cpp finds no accelerator here: it was built "
            "without one, or its driver is missing; leave gpu_layers out to compute on the processor",
            "gpu_layers",
        )
    return config.gpu_layers


def choose_projector(
    model: str | Path, header: ModelHeader, config: EngineConfig
) -> ProjectorHeader | None:
    """The file that the model sees with; None if it has none here, or is not to see.

    Raises:
        ModelNotFound, NotCached: the one that `config` names is not here.
        ModelLoadFailed: it is damaged, no projector, or another model's.
    """
    if not config.vision:
        return None
    file = resolve_projector(model, config.projector)
    if file is None:
        return None
    found = read_projector(file.path)
    if found.projection_dim != header.embedding_length:
        raise ModelLoadFailed(
            found.path,
            f"it belongs to another model: its vectors have {found.projection_dim} numbers, and "
            f"{header.name} reads {header.embedding_length}",
        )
    return found


def choose_attention(
    header: ModelHeader,
    parts: Sequence[Path],
    machine: Machine,
    options: ModelOptions,
    config: EngineConfig,
    sight: ProjectorHeader | None,
) -> ModelOptions:
    """The options with attention by tiles if nothing speaks against it and it is faster.

    Against it speaks a model that sees: behind a large picture it costs accuracy.
    """
    if config.flash_attention != "auto" or options.flash_attention or sight is not None:
        return options
    if config.workers:  # it would be tried on this machine alone
        return options
    found = attention(header, fingerprint(parts, options), machine, options)
    return replace(options, flash_attention=found.chosen)


def choose_packing(
    header: ModelHeader,
    parts: Sequence[Path],
    machine: Machine,
    options: ModelOptions,
    config: EngineConfig,
) -> ModelOptions:
    """The options with weights laid out as was asked, or as is best."""
    if config.repack != "auto":
        return replace(options, repack=config.repack == "on")
    if options.workers:  # they lay out nothing anew, and all layers are to be computed alike
        return replace(options, repack=False)
    found = packing(header, fingerprint(parts, options), machine, options)
    return replace(options, repack=found.chosen)


def open_store(
    config: EngineConfig, mark: str, model: str, header: ModelHeader, options: ModelOptions
) -> PrefixStore | None:
    """Where prompts that were read outlive the process; None if that is not wanted."""
    if config.prompt_cache is None:
        return None
    return PrefixStore(config.prompt_cache, mark, model=model, affords=_affords(header, options))


def open_memory(
    config: EngineConfig, header: ModelHeader, options: ModelOptions
) -> PrefixMemory | None:
    """Where prompts that were read outlive their slots; None if that is not wanted."""
    most = config.prompt_memory
    if most is None:
        most = min(MOST_PROMPT_MEMORY, available_memory() // _COPY_SHARE)
    return PrefixMemory(most, affords=_affords(header, options)) if most else None


def _affords(header: ModelHeader, options: ModelOptions) -> Callable[[int], bool]:
    row = kv_bytes_per_token(header, options.kv_type)
    # Without flash attention V is stored by columns, and each of a layer's thousand is asked for by itself.
    far = options.workers and not options.flash_attention

    def affords(rows: int) -> bool:
        """A copy is nothing that anybody asked for: it must not be what memory runs out with."""
        return not far and rows * row <= available_memory() // _COPY_SHARE

    return affords


def new_gathering(header: ModelHeader, options: ModelOptions, costs: StepCosts) -> Gathering | None:
    """What has answers lie side by side; None where what that takes is not known."""
    if options.offloads:
        return None
    step = step_bytes(header, options.kv_type)
    return Gathering(costs, step.weights / (_MOVED * step.row), _affords(header, options))


def new_passes(header: ModelHeader, options: ModelOptions, costs: StepCosts) -> Passes | None:
    """What has small batches take less time; None where what that takes is not known."""
    if options.offloads:
        return None
    step = step_bytes(header, options.kv_type)
    return Passes(costs, step.weights / (_ATTENDED * step.row), options.context_length)


def new_projector(
    header: ProjectorHeader, model: Model, options: ModelOptions, config: EngineConfig
) -> Projector:
    """A projector that is loaded when the first picture comes."""
    return Projector(
        ProjectorOptions(
            path=header.path,
            layers=header.block_count,
            row_break=read_row_break(header.path),
            threads=options.threads,
            use_gpu=options.gpu_layers > 0,
        ),
        model,
        VectorCache(
            fingerprint_of_sight(header.path, options), config.image_cache, model=header.path.name
        ),
    )


def plan_memory(
    header: ModelHeader,
    host: Host,
    options: ModelOptions,
    projector: ProjectorHeader | None,
    draft: DraftFile | None,
) -> MemoryPlan:
    """What the model will take if all of it is computed here, and the smaller one beside it."""
    memory = _plan(header, host, options, projector)
    return memory if draft is None else memory.with_draft(_plan(draft.header, host, draft.options))


def share_out(
    header: ModelHeader,
    memory: MemoryPlan,
    host: Host,
    config: EngineConfig,
    shares: tuple[WorkerShare, ...] | None,
) -> tuple[tuple[WorkerShare, ...], MemoryPlan]:
    """Which layers the workers compute, and what stays here.

    Args:
        memory: of all of the model.
        shares: how they were shared out before, to be kept.

    Raises:
        WorkerError: a worker is of no use, or has too little memory.
        NotEnoughMemory: this machine has too little for what stays, or all of them for the whole.
        InvalidRequest: an address is none, or there are more workers than layers.
    """
    lent = probe_all(parse_workers(config.workers))
    if shares is None:
        placed = place(header, memory, host.available_memory, lent, force=config.force)
        layers = zip(config.workers, placed.there, strict=True)
        shares = tuple(WorkerShare(*share) for share in layers)
    elif not config.force:
        there = [share.layers for share in shares]
        check_placement(there, header, memory, host.available_memory, lent)
    return shares, memory.kept(header, header.block_count - sum(share.layers for share in shares))


def _plan(
    header: ModelHeader,
    host: Host,
    options: ModelOptions,
    projector: ProjectorHeader | None = None,
) -> MemoryPlan:
    return plan(
        header,
        host,
        context_length=options.context_length,
        max_sequences=options.max_sequences,
        kv_type=options.kv_type,
        flash_attention=options.flash_attention,
        prefill_chunk=options.prefill_chunk,
        projector=projector,
    )


def choose_dialect(path: Path, source: str | None, tokenizer: LlamaTokenizer) -> Dialect:
    """Mistral's own format if the vocabulary has its marks, whatever the file is called."""
    if speaks_v11(tokenizer.control_tokens):
        return TekkenV11()
    if source is None:
        raise ModelLoadFailed(path, "it has no chat template, so it cannot chat")
    try:
        return JinjaTemplate(source, tokenizer.control_tokens, tokenizer.bos, tokenizer.eos)
    except ValueError as error:
        raise ModelLoadFailed(path, f"its chat template does not compile: {error}") from None
