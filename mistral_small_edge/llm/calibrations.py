"""What was found out about this machine, remembered: everything is tried once."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from mistral_small_edge import places
from mistral_small_edge.engine.calibration import Calibration, Repeats, StepCosts
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.file_cache import FileCache, Kind, Label
from mistral_small_edge.gguf import write_first_layer
from mistral_small_edge.llama.ways import USUAL, Packing, try_packing
from mistral_small_edge.llama.trial import try_costs, try_repeats

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.gguf import ModelHeader
    from mistral_small_edge.host import Host
    from mistral_small_edge.llama.model import ModelOptions
    from mistral_small_edge.llama.runner import LlamaRunner

logger = logging.getLogger("mistral_small_edge.llm")

_FILES = Kind(".machine", 1_000_000)  # one has some hundred bytes
_VERSION = 1  # of what is tried
_WORTH_TRYING = 1_000_000_000  # bytes of weights


class Finding(Protocol):
    """What can be found out, as JSON and back."""

    def as_json(self) -> Any:
        """A form that `from_json` reads."""

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave, or ValueError, KeyError or TypeError."""


T = TypeVar("T", bound=Finding)


def calibration(
    runner: LlamaRunner,
    mark: str,
    host: Host,
    options: ModelOptions,
    on_trial: Callable[[float], None] | None = None,
) -> Calibration:
    """What this machine does with the model.

    Costs decide how far answers are guessed ahead, and so, in the last bits, how a seeded one is
    computed: they are found once for a model, however it is driven.

    Args:
        mark: names the model, the build and how it is computed.
        on_trial: called with 0..1 if something has to be tried.
    """
    model = (mark, host.processor)
    lanes = (options.threads, options.max_sequences)
    return Calibration(
        remembered(StepCosts, model, lambda: try_costs(runner, on_trial)),
        remembered(Repeats, (*model, *lanes), lambda: try_repeats(runner, on_trial)),
    )


def packing(
    header: ModelHeader,
    mark: str,
    host: Host,
    options: ModelOptions,
    on_trial: Callable[[float], None] | None = None,
) -> Packing:
    """How weights are best laid out in memory; tried only where they are many.

    Args:
        as for `calibration`.
    """
    if options.uses_gpu or header.parameter_bytes < _WORTH_TRYING:
        return USUAL

    def try_it() -> Packing:
        try:
            with TemporaryDirectory() as folder:
                layer = Path(folder) / "layer.gguf"
                if write_first_layer(header.parts[0], layer):
                    return try_packing(layer, options, on_trial)
        except (OSError, DecodeFailed) as error:  # there is no room for it, or it does not run
            logger.warning("how weights are best laid out was not tried: %s", error)
        return USUAL

    return remembered(Packing, (mark, host.processor, options.threads), try_it)


def remembered(kind: type[T], circumstances: tuple[object, ...], try_it: Callable[[], T]) -> T:
    """What is known, or else what trying tells, which is known from then on.

    Args:
        circumstances: all that it depends on; of values whose `repr` tells them apart.
    """
    try:
        files = FileCache(places.machine(), _FILES)
    except OSError:  # there is nowhere to keep it
        return try_it()
    text = repr((_VERSION, kind.__name__, circumstances))
    name = hashlib.sha256(text.encode()).hexdigest()[:40]
    known = _read(kind, files, name)
    if known is not None:
        return known
    found = try_it()
    # Somebody else may have tried at the same time: from now on all are to go by one.
    known = _read(kind, files, name)
    if known is not None:
        return known
    try:
        files.write(name, [json.dumps(found.as_json()).encode()], Label("", 0))
    except OSError as error:
        logger.warning("this machine will be tried again next time: %s", error)
    return found


def _read(kind: type[T], files: FileCache, name: str) -> T | None:
    content = files.read(files.path(name))
    if content is None:
        return None
    try:
        return kind.from_json(json.loads(bytes(content)))
    except (ValueError, KeyError, TypeError):
        return None
