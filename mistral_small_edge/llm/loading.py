"""From a name to all that answers by it: chosen, loaded, tried on this machine, put together."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.host import probe_host
from mistral_small_edge.llama.model import load_model
from mistral_small_edge.llama.runner import LlamaRunner
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from mistral_small_edge.llm import drafts
from mistral_small_edge.llm.calibrations import Machine, calibration, keep_threads
from mistral_small_edge.llm.choice import choose
from mistral_small_edge.llm.computing import Computing, Here
from mistral_small_edge.llm.fingerprint import (
    fingerprint,
    fingerprint_of_answers,
    fingerprint_of_rows,
)
from mistral_small_edge.llm.setup import (
    choose_dialect,
    new_gathering,
    new_passes,
    new_projector,
    open_memory,
    open_store,
)
from mistral_small_edge.memory import step_bytes
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mistral_small_edge.chat.dialect import Dialect
    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.engine.calibration import Calibration, StepCosts
    from mistral_small_edge.llama.draft_model import LlamaDraft
    from mistral_small_edge.llama.model import Model, ModelOptions, WorkerShare
    from mistral_small_edge.llama.projector import Projector
    from mistral_small_edge.llm.choice import Choice
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
    config = order.config
    machine = Machine(probe_host(), on_trial, order.anew)
    choice = choose(order.model, config, machine, order.shares)
    options, header = choice.options, choice.header
    with ExitStack() as held:
        model = load_model(choice.file.path, options, on_progress)
        held.callback(model.close)
        tokenizer = LlamaTokenizer(model)
        dialect = choose_dialect(choice.file.path, header.chat_template, tokenizer)
        runner = LlamaRunner(model, options, _projector(choice, model, config, held))
        tried = _try_out(choice, runner, tokenizer, machine, config, held)
        engine = Engine(
            runner,
            tokenizer,
            prefill_chunk=options.prefill_chunk,
            store=open_store(config, tried.kept_as, choice.file.name, header, options),
            memory=open_memory(config, header, options),
            costs=tried.costs,
            draft_model=tried.draft_model,
            gathering=new_gathering(header, options, tried.calibration.costs),
            passes=new_passes(header, options, tried.calibration.costs),
            at_once=config.at_once,
            prefill_seconds=config.prefill_seconds,
        )

        def keep(count: int) -> None:
            keep_threads(choice.mark, machine.host, count)

        computing = Here(engine, model, options, tokenizer, keep)
        return Loaded(_facts(choice, tried), tokenizer, dialect, computing, held.pop_all())


@dataclass(frozen=True, slots=True)
class _Tried:
    """What was found out with the loaded model, and what follows from it.

    `fingerprint` is that of answers, `kept_as` that of rows; `costs` are None where nothing is to be guessed.
    """

    calibration: Calibration
    costs: StepCosts | None
    fingerprint: str
    kept_as: str
    draft_model: LlamaDraft | None


def _try_out(
    choice: Choice,
    runner: LlamaRunner,
    tokenizer: LlamaTokenizer,
    machine: Machine,
    config: EngineConfig,
    held: ExitStack,
) -> _Tried:
    """Find out what the machine does with the model, and have the runner go by it.

    Args:
        held: closes the smaller model, if there is one.
    """
    options, mark = choice.options, fingerprint(choice.parts, choice.options)
    known = calibration(runner, mark, machine, options, config.at_once)
    runner.row_classes = known.repeats.rows
    costs = known.costs if config.speculation == "auto" else None
    decided_by: list[object] = [costs]
    if config.at_once > 1:
        decided_by += [config.at_once, runner.row_classes.exact_pass]
    if not known.repeats.any_threads:
        decided_by.append(options.threads)
    draft_model = None
    if choice.draft is not None:
        draft_model = drafts.load(choice.draft, runner, tokenizer, mark, machine)
        held.callback(draft_model.close)
        decided_by += [choice.draft.mark, draft_model.cost]
    if config.threads is None and not options.offloads and known.repeats.any_threads:
        runner.adapt_threads(options.threads, known.costs)
    return _Tried(
        known,
        costs,
        fingerprint_of_answers(mark, *decided_by),
        fingerprint_of_rows(mark, runner.row_classes),
        draft_model,
    )


def _projector(
    choice: Choice, model: Model, config: EngineConfig, held: ExitStack
) -> Projector | None:
    if choice.sight is None:
        return None
    projector = new_projector(choice.sight, model, choice.options, config)
    held.callback(projector.close)
    return projector


def _facts(choice: Choice, tried: _Tried) -> Facts:
    return Facts(
        name=choice.file.name,
        options=choice.options,
        sampling=choice.file.sampling or SamplingParams(),
        fingerprint=tried.fingerprint,
        memory=choice.memory,
        step_bytes=step_bytes(choice.header, choice.options.kv_type),
        calibration=tried.calibration,
        sees=choice.sight is not None,
    )
