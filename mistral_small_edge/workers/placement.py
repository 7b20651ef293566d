"""Which layers of a model are computed on which machine, by the memory that each has free.

Pure arithmetic. llama.cpp computes the first layers here and deals the others out to the workers in
their order; a layer's part of the KV cache is where the layer is, and every machine that has a layer
holds a batch's intermediate results. The embedding and the output matrix stay here, so that between
machines only vectors as wide as the model travel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from mistral_small_edge.errors import (
    InvalidRequest,
    NotEnoughMemory,
    NotEnoughTogether,
    WorkerTooSmall,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.gguf import ModelHeader
    from mistral_small_edge.memory import MemoryPlan
    from mistral_small_edge.workers.probe import Lent

THIS_MACHINE = "this machine"

_Way = tuple[float, tuple[int, ...]]  # what it costs, and layers of the machines so far


@dataclass(frozen=True, slots=True)
class Placement:
    """Layers, and the bytes that they and all that goes with them take.

    Attributes:
        here: leading layers computed on this machine, perhaps none.
        there: layers of each worker, in their order, at least one each.
        bytes_here: with all that stays on this machine in any case.
        bytes_there: of each worker.
    """

    here: int
    there: tuple[int, ...]
    bytes_here: int
    bytes_there: tuple[int, ...]


def place(
    header: ModelHeader,
    memory: MemoryPlan,
    here_free: int,
    lent: Sequence[Lent],
    *,
    force: bool = False,
) -> Placement:
    """Fill what each machine has left for layers to the same share, as nearly as whole layers allow.

    Args:
        memory: what the model would take if all of it were computed here.
        here_free: bytes.
        force: share the layers out even where they do not fit.

    Raises:
        InvalidRequest: there are more workers than layers.
        NotEnoughMemory: this machine has no room for what stays here in any case.
        WorkerTooSmall: one has no room for a single layer.
        NotEnoughTogether: not all layers have room.
    """
    if len(lent) > header.block_count:
        raise InvalidRequest(
            f"{len(lent)} workers are named, and the model has {header.block_count} layers",
            "workers",
        )
    layers = _layers(header, memory)
    if not force:
        _check_least(layers, header, memory, here_free, lent)
    rooms = (
        here_free - _beside_layers(header, memory),
        *(one.free - memory.beside_layers for one in lent),
    )
    counts = _deal_out(layers, [max(0, room) for room in rooms], capped=not force)
    if counts is None:
        boxes = (THIS_MACHINE, here_free), *((str(one.address), one.free) for one in lent)
        raise NotEnoughTogether(
            _beside_layers(header, memory) + len(lent) * memory.beside_layers + sum(layers),
            len(layers),
            [(*box, max(0, room) // max(layers)) for box, room in zip(boxes, rooms, strict=True)],
        )
    return _placement(header, memory, counts)


def check_placement(
    there: Sequence[int],
    header: ModelHeader,
    memory: MemoryPlan,
    here_free: int,
    lent: Sequence[Lent],
) -> None:
    """Refuse a placement that was made earlier, where a machine now has less room than it needs.

    Args:
        there: layers of each worker; the first ones of the model are here.

    Raises:
        NotEnoughMemory: this machine has.
        WorkerTooSmall: a worker has.
    """
    needed = _placement(header, memory, (header.block_count - sum(there), *there))
    if needed.bytes_here > here_free:
        parts = memory.kept(header, needed.here).parts
        raise NotEnoughMemory(needed.bytes_here, here_free, parts)
    for one, layers, size in zip(lent, needed.there, needed.bytes_there, strict=True):
        if size > one.free:
            raise WorkerTooSmall(str(one.address), one.free, size, layers)


def _check_least(
    layers: Sequence[int],
    header: ModelHeader,
    memory: MemoryPlan,
    here_free: int,
    lent: Sequence[Lent],
) -> None:
    """No layer has to be here, and one has to be on each worker."""
    here, there = memory.kept(header, 0), memory.beside_layers + min(layers)
    if here.total > here_free:
        raise NotEnoughMemory(here.total, here_free, here.parts)
    for one in lent:
        if there > one.free:
            raise WorkerTooSmall(str(one.address), one.free, there)


def _layers(header: ModelHeader, memory: MemoryPlan) -> tuple[int, ...]:
    """Bytes of each layer, with its part of the KV cache."""
    kv = memory.kv // header.block_count
    return tuple(size + kv for size in header.layer_bytes)


def _beside_layers(header: ModelHeader, memory: MemoryPlan) -> int:
    """What this machine takes beside its layers if it has any."""
    return memory.kept(header, 0).total - memory.inputs + memory.compute


def _deal_out(
    layers: Sequence[int], rooms: Sequence[int], *, capped: bool
) -> tuple[int, ...] | None:
    """How many layers each machine has; None if some would not have room.

    The sum of bytes² / room is least where all are filled to the same share. Whatever number of
    layers the machines so far can have is carried on, with the best way to come to it.
    """
    if capped and sum(layers) > sum(rooms):
        return None
    ways: dict[int, _Way] = {0: (0.0, ())}
    for at, room in enumerate(rooms):
        further: dict[int, _Way] = {}
        for dealt, (cost, counts) in ways.items():
            for count, size in enumerate(accumulate(layers[dealt:], initial=0)):
                if capped and size > room:
                    break
                if count or at == 0:
                    way = (cost + size * size / max(1, room), (*counts, count))
                    further[dealt + count] = min(way, further.get(dealt + count, way))
        ways = further
    best = ways.get(len(layers))
    return None if best is None else best[1]


def _placement(header: ModelHeader, memory: MemoryPlan, counts: Sequence[int]) -> Placement:
    layers, ends = _layers(header, memory), tuple(accumulate(counts))
    return Placement(
        here=counts[0],
        there=tuple(counts[1:]),
        bytes_here=memory.kept(header, counts[0]).total,
        bytes_there=tuple(memory.beside_layers + sum(layers[at:end]) for at, end in pairwise(ends)),
    )
