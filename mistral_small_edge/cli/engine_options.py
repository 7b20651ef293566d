"""The options that say how a model is computed, as one value that commands take.

A command declares a parameter of one of these classes and is decorated with `spelled_out`; on the
command line each field is an option of its own, in the parameter's place.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

from mistral_small_edge.cli import options
from mistral_small_edge.config import EngineConfig

_DEFAULTS = EngineConfig()


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """What every command with a loaded model takes."""

    context: options.Context = _DEFAULTS.context_length
    threads: options.Threads = _DEFAULTS.threads
    gpu_layers: options.GpuLayers = _DEFAULTS.gpu_layers
    kv_type: options.KV = _DEFAULTS.kv_type
    flash_attention: options.Flash = _DEFAULTS.flash_attention
    repack: options.Repacking = _DEFAULTS.repack
    mlock: options.Mlock = _DEFAULTS.mlock
    worker: options.Workers = None
    worker_file: options.WorkerFile = None
    worker_timeout: options.WorkerTimeout = _DEFAULTS.worker_timeout
    force: options.Force = _DEFAULTS.force

    def config(self) -> EngineConfig:
        """What was chosen, with the program's defaults for the rest.

        Raises:
            InvalidRequest: a value is out of its range, or two do not go together.
        """
        return EngineConfig(
            context_length=self.context,
            threads=self.threads,
            gpu_layers=self.gpu_layers,
            kv_type=self.kv_type,
            flash_attention=self.flash_attention,
            repack=self.repack,
            mlock=self.mlock,
            workers=options.chosen_workers(self.worker, self.worker_file),
            worker_timeout=self.worker_timeout,
            force=self.force,
        )


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(ComputeOptions):
    """What commands take besides that answer what they are asked."""

    speculation: options.Speculate = _DEFAULTS.speculation
    draft_model: options.DraftModel = None
    no_vision: options.NoVision = not _DEFAULTS.vision
    mmproj: options.Mmproj = None

    def config(self) -> EngineConfig:
        """As of ComputeOptions."""
        return replace(
            super().config(),
            speculation=self.speculation,
            draft_model=self.draft_model,
            vision=not self.no_vision,
            projector=self.mmproj,
        )


def spelled_out(command: Callable[..., None]) -> Callable[..., None]:
    """`command` for Typer: with an option for each field of its one parameter that is a class of ours."""
    taken = inspect.signature(command, eval_str=True).parameters.values()
    [whole] = [one for one in taken if _is_group(one.annotation)]
    fields = inspect.signature(whole.annotation).parameters
    spelled = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in taken
        for parameter in (fields.values() if one is whole else (one,))
    ]

    @functools.wraps(command)
    def run(**given: object) -> None:
        group = whole.annotation(**{name: given.pop(name) for name in fields})
        command(**given, **{whole.name: group})

    # What Typer reads: the one for names and defaults, the other for types.
    vars(run)["__signature__"] = inspect.Signature(spelled)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spelled}
    return run


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, ComputeOptions)
