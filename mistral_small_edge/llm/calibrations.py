"""What was found out about this machine, remembered: everything is tried once."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from mistral_small_edge import places
from mistral_small_edge.engine.calibration import (
    Calibration,
    DraftCost,
    ExactPass,
    Repeats,
    StepCosts,
    Threads,
)
from mistral_small_edge.errors import DecodeFailed
from mistral_small_edge.file_cache import FileCache, Kind, Label
from mistral_small_edge.gguf import write_first_layer
from mistral_small_edge.llama.trial import try_costs, try_draft, try_exact_pass, try_repeats
from mistral_small_edge.llama.ways import Attention, Packing, try_attention, try_packing

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.gguf import ModelHeader
    from mistral_small_edge.host import Host
    from mistral_small_edge.llama.model import ModelOptions
    from mistral_small_edge.llama.runner import LlamaRunner

logger = logging.getLogger("mistral_small_edge.llm")

_FILES = Kind(".machine", 1_000_000)  # one has some hundred bytes
_VERSION = 7  # of what is tried
_EXACT_PASSES = (4, 8, 16)  # rows, as kernels take them at once
_WORTH = 0.9  # of the time: one that is alone pays for it
_MANY = 1_000_000_000  # bytes of weights


class Finding(Protocol):
    """What can be found out, as JSON and back."""

    def as_json(self) -> Any:
        """A form that `from_json` reads."""

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `as_json` gave, or ValueError, KeyError or TypeError."""


T = TypeVar("T", bound=Finding)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where things are found out.

    Attributes:
        on_trial: called with 0..1 if something has to be tried; what it raises ends the trial.
        anew: whether what is known already is to be tried again.
    """

    host: Host
    on_trial: Callable[[float], None] | None = None
    anew: bool = False


def calibration(
    runner: LlamaRunner, mark: str, machine: Machine, options: ModelOptions, at_once: int
) -> Calibration:
    """What this machine does with the model.

    Costs decide how far answers are guessed ahead, and so, in the last bits, how a seeded one is
    computed: they are found once for a model, however it is driven.

    Args:
        mark: names the model, the build and how it is computed.
        at_once: answers that are expected to be written at the same time.
    """
    model = (mark, machine.host.processor)
    lanes = (options.threads, options.max_sequences)
    told, anew = machine.on_trial, machine.anew
    found = Calibration(
        remembered(StepCosts, model, lambda: try_costs(runner, told), anew=anew),
        remembered(Repeats, (*model, *lanes), lambda: try_repeats(runner, told), anew=anew),
    )
    width = _exact_pass(runner, found, machine, at_once, *model, *lanes)
    rows = replace(found.repeats.rows, exact_pass=width)
    return replace(found, repeats=replace(found.repeats, rows=rows))


def _exact_pass(
    runner: LlamaRunner, known: Calibration, machine: Machine, at_once: int, *where: object
) -> int:
    """Of how many rows passes are to be that answers which must repeat are computed in; 0 if of any few.

    Args:
        known: what else was found out.
        where: what the bits depend on.
    """
    widths = _faster_passes(known, min(at_once, runner.max_sequences))
    widths = [width for width in widths if width <= runner.max_sequences]
    if not widths or not runner.keeps_rows or runner.splits_context or runner.row_classes.grid:
        return 0
    found = remembered(
        ExactPass,
        (*where, *widths),
        lambda: try_exact_pass(runner, widths, machine.on_trial),
        anew=machine.anew,
    )
    return found.rows


def _faster_passes(known: Calibration, answers: int) -> list[int]:
    """Rows of passes that compute so many sooner than as few as decode like one; the fastest first."""
    costs, few = known.costs, known.repeats.rows.max_repeatable_rows
    usual = costs.total(costs.parts(answers, few))
    took = {width: -(-answers // width) * costs.of(width) for width in _EXACT_PASSES}
    faster = [width for width in took if took[width] < _WORTH * usual]
    return sorted(faster, key=took.__getitem__)


def draft_cost(
    runner: LlamaRunner, draft: LlamaRunner, marks: tuple[str, str], machine: Machine
) -> DraftCost:
    """What a token of a smaller model takes beside one of the large one's.

    Args:
        marks: of both.
    """
    return remembered(
        DraftCost,
        (*marks, machine.host.processor),
        lambda: try_draft(runner, draft, machine.on_trial),
        anew=machine.anew,
    )


def packing(header: ModelHeader, mark: str, machine: Machine, options: ModelOptions) -> Packing:
    """How weights are best laid out in memory; tried only where they are many."""
    usual = Packing(chosen=True)
    if options.offloads or header.parameter_bytes < _MANY:
        return usual

    def try_it() -> Packing | None:
        return _with_layer(header, lambda layer: try_packing(layer, options, machine.on_trial))

    circumstances = mark, machine.host.processor, options.threads
    return _tried(Packing, circumstances, try_it, anew=machine.anew) or usual


def attention(header: ModelHeader, mark: str, machine: Machine, options: ModelOptions) -> Attention:
    """How attention is best computed."""
    usual = Attention(chosen=False)
    if options.offloads:
        return usual

    def try_with(model: Path) -> Attention | None:
        return try_attention(model, options, machine.on_trial)

    def try_it() -> Attention | None:
        if header.parameter_bytes < _MANY and len(header.parts) == 1:
            return try_with(header.parts[0])
        return _with_layer(header, try_with)

    circumstances = mark, machine.host.processor, options.threads
    return _tried(Attention, circumstances, try_it, anew=machine.anew) or usual


def known_threads(mark: str, host: Host) -> int | None:
    """How many threads are the fastest for a file, if that was ever measured."""
    files = _files()
    known = None if files is None else _read(Threads, files, _name(Threads, _cores(mark, host)))
    return None if known is None else known.count


def keep_threads(mark: str, host: Host, count: int) -> None:
    """Remember that so many are the fastest.

    Args:
        mark: of the file.
    """
    remembered(Threads, _cores(mark, host), lambda: Threads(count), anew=True)


def everything_known() -> list[tuple[str, object]]:
    """All that is remembered, for people to look at: of each finding its kind and its JSON, unchecked."""
    files = _files()
    if files is None:
        return []
    found: list[tuple[str, object]] = []
    for kept in files.files():
        with suppress(ValueError):  # it is torn, and will be tried again
            value = json.loads(files.peek(kept.path, kept.size))
            found.append((kept.label.model if kept.label else "", value))
    return found


def _cores(mark: str, host: Host) -> tuple[object, ...]:
    return mark, host.processor, host.usable_cpus, host.cpu_quota


def _with_layer(header: ModelHeader, try_it: Callable[[Path], T | None]) -> T | None:
    """What is found with the model's first layer; None if that cannot be cut off or computed."""
    try:
        with TemporaryDirectory() as folder:
            layer = Path(folder) / "layer.gguf"
            if write_first_layer(header.parts[0], layer):
                return try_it(layer)
    except (OSError, DecodeFailed) as error:  # there is no room for it, or it does not run
        logger.warning("a way of computing was not tried: %s", error)
    return None


def remembered(
    kind: type[T],
    circumstances: tuple[object, ...],
    try_it: Callable[[], T],
    *,
    anew: bool = False,
) -> T:
    """What is known, or else what trying tells, which is known from then on.

    Args:
        circumstances: all that it depends on; of values whose `repr` tells them apart.
        anew: try in any case.
    """
    found = _tried(kind, circumstances, try_it, anew=anew)
    assert found is not None  # noqa: S101 - it tells something
    return found


def _tried(
    kind: type[T], circumstances: tuple[object, ...], try_it: Callable[[], T | None], *, anew: bool
) -> T | None:
    """The same of what may tell nothing this time: that is not remembered."""
    files = _files()
    if files is None:
        return try_it()
    name = _name(kind, circumstances)
    known = None if anew else _read(kind, files, name)
    if known is not None:
        return known
    found = try_it()
    # Somebody else may have tried at the same time: from now on all are to go by one.
    known = None if anew else _read(kind, files, name)
    if known is not None or found is None:
        return known
    try:
        files.write(name, [json.dumps(found.as_json()).encode()], Label(kind.__name__, 0))
    except OSError as error:
        logger.warning("this machine will be tried again next time: %s", error)
    return found


def _files() -> FileCache | None:
    try:
        return FileCache(places.machine(), _FILES)
    except OSError:  # there is nowhere to keep it
        return None


def _name(kind: type[Finding], circumstances: tuple[object, ...]) -> str:
    text = repr((_VERSION, kind.__name__, circumstances))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _read(kind: type[T], files: FileCache, name: str) -> T | None:
    content = files.read(files.path(name))
    if content is None:
        return None
    try:
        return kind.from_json(json.loads(bytes(content)))
    except (ValueError, KeyError, TypeError):
        return None
