"""From a name to all that answers by it: chosen, loaded, tried on this machine, put together."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.gguf import read_header
from mistral_small_edge.host import probe_host
from mistral_small_edge.llama.model import load_model
from mistral_small_edge.llama.runner import LlamaRunner
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from mistral_small_edge.llm import drafts
from mistral_small_edge.llm.calibrations import Machine, calibration, keep_threads, known_threads
from mistral_small_edge.llm.fingerprint import (
    fingerprint,
    fingerprint_of_answers,
    fingerprint_of_files,
)
from mistral_small_edge.llm.setup import (
    choose_attention,
    choose_dialect,
    choose_options,
    choose_packing,
    choose_projector,
    new_projector,
    open_store,
    plan_memory,
)
from mistral_small_edge.memory import step_bytes
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.store.catalog import resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mistral_small_edge.chat.dialect import Dialect
    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.engine.calibration import Calibration
    from mistral_small_edge.llama.draft_model import LlamaDraft
    from mistral_small_edge.llama.model import Model, ModelOptions
    from mistral_small_edge.llama.projector import Projector
    from mistral_small_edge.memory import MemoryPlan, StepBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model in memory, and what is known of it. `held` frees it, and what it goes with."""

    name: str
    model: Model
    options: ModelOptions
    dialect: Dialect
    sampling: SamplingParams
    fingerprint: str
    memory: MemoryPlan
    step_bytes: StepBytes
    calibration: Calibration
    engine: Engine
    sees: bool
    keep_threads: Callable[[int], None]
    held: ExitStack


def load(
    model: str | Path,
    config: EngineConfig,
    on_progress: Callable[[float], None] | None = None,
    on_trial: Callable[[float], None] | None = None,
    *,
    anew: bool = False,
) -> Loaded:
    """What `LLM.load` says."""
    file = resolve(model)
    header = read_header(file.path)
    host = probe_host()
    machine = Machine(host, on_trial, anew)
    files = fingerprint_of_files(file.parts)
    options = choose_options(header, host, config, None if anew else known_threads(files, host))
    sight = choose_projector(model, header, config)
    draft = drafts.choose(config, options)
    parts = (*file.parts, sight.path) if sight else file.parts
    options = choose_attention(header, parts, machine, options, config, sight)
    memory = plan_memory(header, host, options, sight, draft, force=config.force)
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
        costs = known.costs if config.speculation == "auto" else None
        draft_model: LlamaDraft | None = None
        decided_by: tuple[object, ...] = (costs,)
        if draft is not None:
            draft_model = drafts.load(draft, runner, tokenizer, mark, machine)
            held.callback(draft_model.close)
            decided_by = (costs, draft.mark, draft_model.cost)
        adapts = config.threads is None and not options.uses_gpu
        if adapts and known.repeats.any_threads:
            runner.adapt_threads(options.threads, known.costs)
        engine = Engine(
            runner,
            tokenizer,
            prefill_chunk=options.prefill_chunk,
            store=open_store(config, mark, file.name, header, options),
            costs=costs,
            draft_model=draft_model,
        )
        return Loaded(
            name=file.name,
            model=loaded,
            options=options,
            dialect=dialect,
            sampling=file.sampling or SamplingParams(),
            fingerprint=fingerprint_of_answers(mark, *decided_by),
            memory=memory,
            step_bytes=step_bytes(header, options.kv_type),
            calibration=known,
            engine=engine,
            sees=projector is not None,
            keep_threads=lambda count: keep_threads(files, host, count),
            held=held.pop_all(),
        )
