"""From a name to all that answers by it: chosen, loaded, tried on this machine, put together."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.gguf import read_header
from mistral_small_edge.host import probe_host
from mistral_small_edge.llama.model import load_model
from mistral_small_edge.llama.runner import LlamaRunner
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from mistral_small_edge.llm import drafts
from mistral_small_edge.llm.calibrations import Machine, calibration, keep_threads, known_threads
from mistral_small_edge.llm.computing import Computing, Here
from mistral_small_edge.llm.fingerprint import (
    fingerprint,
    fingerprint_of_answers,
    fingerprint_of_files,
    fingerprint_of_rows,
)
from mistral_small_edge.llm.setup import (
    choose_attention,
    choose_dialect,
    choose_options,
    choose_packing,
    choose_projector,
    new_gathering,
    new_projector,
    open_memory,
    open_store,
    plan_memory,
    share_out,
)
from mistral_small_edge.memory import check, step_bytes
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.store.catalog import resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mistral_small_edge.chat.dialect import Dialect
    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.engine.calibration import Calibration
    from mistral_small_edge.llama.draft_model import LlamaDraft
    from mistral_small_edge.llama.model import ModelOptions, WorkerShare
    from mistral_small_edge.llama.projector import Projector
    from mistral_small_edge.memory import MemoryPlan, StepBytes


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be loaded, and how; `shares`, if it is known beforehand, says what workers get of it."""

    model: str | Path
    config: EngineConfig
    anew: bool = False
    shares: tuple[WorkerShare, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a model that is in memory, in this process or another.

    Attributes:
        name: as the catalog calls it, or the path of a file of one's own.
        options: every choice, made.
        sampling: what its publisher recommends.
        fingerprint: equal where the same seed and prompt give the same answer.
        memory: what was planned for it on this machine.
        step_bytes: what writing a token reads.
        calibration: what was found out about the machine with it.
        sees: whether it takes pictures.
    """

    name: str
    options: ModelOptions
    sampling: SamplingParams
    fingerprint: str
    memory: MemoryPlan
    step_bytes: StepBytes
    calibration: Calibration
    sees: bool


C_co = TypeVar("C_co", bound=Computing, covariant=True)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[C_co]):
    """A model that answers. Whoever has it closes `computing`, and then `held`, what that goes with."""

    facts: Facts
    tokenizer: LlamaTokenizer
    dialect: Dialect
    computing: C_co
    held: ExitStack


def load(
    model: str | Path,
    config: EngineConfig,
    on_progress: Callable[[float], None] | None = None,
    on_trial: Callable[[float], None] | None = None,
    *,
    anew: bool = False,
) -> Loaded[Computing]:
    """What `LLM.load` says. ggml's client of workers may end its process: it gets one of its own."""
    if not config.workers:
        return load_here(Order(model, config, anew), on_progress, on_trial)
    from mistral_small_edge.llm.apart import load_apart

    return load_apart(Order(model, config, anew), on_progress, on_trial)


def load_here(
    order: Order,
    on_progress: Callable[[float], None] | None = None,
    on_trial: Callable[[float], None] | None = None,
) -> Loaded[Here]:
    """The same in this process, workers or not."""
    model, config = order.model, order.config
    file = resolve(model)
    header = read_header(file.path)
    host = probe_host()
    machine = Machine(host, on_trial, order.anew)
    files = fingerprint_of_files(file.parts)
    threads = None if order.anew else known_threads(files, host)
    options = choose_options(header, host, config, threads)
    sight = choose_projector(model, header, config)
    draft = drafts.choose(config, options)
    parts = (*file.parts, sight.path) if sight else file.parts
    options = choose_attention(header, parts, machine, options, config, sight)
    memory = plan_memory(header, host, options, sight, draft)
    if config.workers:
        shares, memory = share_out(header, memory, host, config, order.shares)
        options = replace(options, workers=shares)
    elif not config.force:
        check(memory, host)
    options = choose_packing(header, parts, machine, options, config)
    with ExitStack() as held:
        loaded = load_model(file.path, options, on_progress)
        held.callback(loaded.close)
        tokenizer = LlamaTokenizer(loaded)
        dialect = choose_dialect(file.path, header.chat_template, tokenizer)
        projector: Projector | None = None
        if sight is not None:
            projector = new_projector(sight, loaded, options, config)
            held.callback(projector.close)
        mark = fingerprint(parts, options)
        runner = LlamaRunner(loaded, options, projector)
        known = calibration(runner, mark, machine, options)
        runner.row_classes = known.repeats.rows
        kept_as = fingerprint_of_rows(mark, runner.row_classes)
        costs = known.costs if config.speculation == "auto" else None
        draft_model: LlamaDraft | None = None
        decided_by: tuple[object, ...] = (costs, *_threads_that_matter(known, options))
        if draft is not None:
            draft_model = drafts.load(draft, runner, tokenizer, mark, machine)
            held.callback(draft_model.close)
            decided_by = (*decided_by, draft.mark, draft_model.cost)
        adapts = config.threads is None and not options.offloads
        if adapts and known.repeats.any_threads:
            runner.adapt_threads(options.threads, known.costs)
        engine = Engine(
            runner,
            tokenizer,
            prefill_chunk=options.prefill_chunk,
            store=open_store(config, kept_as, file.name, header, options),
            memory=open_memory(config, header, options),
            costs=costs,
            draft_model=draft_model,
            gathering=new_gathering(header, options, known.costs),
        )
        facts = Facts(
            name=file.name,
            options=options,
            sampling=file.sampling or SamplingParams(),
            fingerprint=fingerprint_of_answers(mark, *decided_by),
            memory=memory,
            step_bytes=step_bytes(header, options.kv_type),
            calibration=known,
            sees=projector is not None,
        )
        computing = Here(
            engine, loaded, options, tokenizer, lambda count: keep_threads(files, host, count)
        )
        return Loaded(facts, tokenizer, dialect, computing, held.pop_all())


def _threads_that_matter(known: Calibration, options: ModelOptions) -> tuple[int, ...]:
    return () if known.repeats.any_threads else (options.threads,)
