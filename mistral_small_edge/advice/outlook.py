"""One build, run one way, on one machine or on several: what it takes, how fast it can be, a verdict.

A speed is the bound that memory sets: no token is written before the weights, and what the context
holds, were read. Machines that share a model read their layers one after the other, so that several
are no faster than one that is large enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Literal

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import NotEnoughMemory, WorkerTooSmall, readable_size
from mistral_small_edge.memory import choose_flash_attention, plan, step_bytes
from mistral_small_edge.workers import place

if TYPE_CHECKING:
    from mistral_small_edge.config import KVType
    from mistral_small_edge.gguf import ModelHeader, ProjectorHeader
    from mistral_small_edge.machines import Machine
    from mistral_small_edge.memory import MemoryPlan

Verdict = Literal["fits", "tight", "no"]

# What is `tight`: it can be loaded, and less is left than the smaller of these two. Weights are mapped
# from their file, so whatever else wants memory then pushes some of them out, and they are read from
# the disk again for every token. For the same reason what is `no` would start all the same, and crawl.
SPARE_BYTES = 10**9
SPARE_SHARE = 10  # of the memory that is free: a tenth

# What a worker adds to a token: its state to the worker and back, and what goes along, by a wire of
# 1 Gbit/s, and the time that the first bit is under way.
WORKER_SECONDS = 0.001

_CONTEXT_STEP = 1024
_PREFILL_CHUNK = EngineConfig().prefill_chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A build that could be run.

    Attributes:
        name: what `--model` takes.
        header: the file's own, or what it will say.
        missing: bytes of the file that would have to be fetched.
    """

    name: str
    header: ModelHeader
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """What the model sees with, and how many bytes of that would have to be fetched."""

    header: ProjectorHeader
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """A way to run a build: tokens of context, the KV cache's numbers, and whether it sees."""

    context_length: int
    kv_type: KVType
    vision: bool


@dataclass(frozen=True, slots=True)
class Share:
    """Layers of one machine, and the bytes that they take there with all that goes along, of those free."""

    name: str
    layers: int
    taken: int
    free: int

    @property
    def spare(self) -> int:
        """Bytes that stay free; below 0, those that are missing."""
        return self.free - self.taken

    @property
    def is_tight(self) -> bool:
        """See SPARE_BYTES."""
        return self.spare < min(SPARE_BYTES, self.free // SPARE_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be expected of one build run one way.

    Attributes:
        memory: on all machines together.
        shares: each machine's, this one's first; none where several have no room for all layers.
        spare: bytes of memory that stay free where the least do; below 0, those that are missing.
        disk_short: bytes that the disk lacks for what would have to be fetched.
        rate: tokens a second at most, the context half full; None if memory's speed is not known.
    """

    candidate: Candidate
    setting: Setting
    memory: MemoryPlan
    shares: tuple[Share, ...]
    spare: int
    disk_short: int
    rate: float | None

    @property
    def verdict(self) -> Verdict:
        """See SPARE_BYTES for what is tight."""
        if self.spare < 0 or self.disk_short:
            return "no"
        return "tight" if any(share.is_tight for share in self.shares) else "fits"

    @property
    def reason(self) -> str:
        """Why, as it goes on from the build's name: it `leaves 3.3 GB`, it `lacks 1.4 GB`."""
        spare = readable_size(abs(self.spare))
        if self.spare < 0:
            return f"lacks {spare}"
        if self.disk_short:
            return f"lacks {readable_size(self.disk_short)} of disk"
        if self.verdict == "tight":
            return f"leaves only {spare}"
        return f"leaves {spare}" + (" on each" if len(self.shares) > 1 else "")


def judge(
    candidate: Candidate, setting: Setting, machine: Machine, sight: Sight | None = None
) -> Outlook:
    """What is to be expected of the build for one conversation, all else left as it is by default.

    Raises:
        InvalidRequest: the model's heads do not fit the KV type.
    """
    header, seeing = candidate.header, sight if setting.vision else None
    flash_attention = choose_flash_attention(
        header,
        context_length=setting.context_length,
        kv_type=setting.kv_type,
        prefill_chunk=_PREFILL_CHUNK,
        wanted="auto",
    )
    memory = plan(
        header,
        machine.host,
        context_length=setting.context_length,
        max_sequences=1,
        kv_type=setting.kv_type,
        flash_attention=flash_attention,
        prefill_chunk=_PREFILL_CHUNK,
        projector=seeing.header if seeing else None,
    )
    shares, spare = _share_out(header, memory, machine)
    if shares:  # every machine has intermediate results of its own
        more = sum(share.taken for share in shares) - memory.total
        memory = replace(memory, compute=memory.compute + more)
    missing = candidate.missing + (seeing.missing if seeing else 0)
    read = step_bytes(header, setting.kv_type).behind(setting.context_length // 2)
    return Outlook(
        candidate=candidate,
        setting=setting,
        memory=memory,
        shares=shares,
        spare=spare,
        disk_short=0 if machine.free_disk is None else max(0, missing - machine.free_disk),
        rate=_rate(read, machine),
    )


def _share_out(
    header: ModelHeader, memory: MemoryPlan, machine: Machine
) -> tuple[tuple[Share, ...], int]:
    """Each machine's share, and what is left where least is; no shares where several hold too little."""
    free, lent = machine.host.available_memory, machine.lent
    if not lent:
        alone = Share(machine.name, header.block_count, memory.total, free)
        return (alone,), alone.spare
    try:
        placed = place(header, memory, free, lent)
    except NotEnoughMemory as error:
        return (), min(-1, error.available - error.needed)
    except WorkerTooSmall as error:
        return (), error.free - error.needed
    shares = (
        Share(machine.name, placed.here, placed.bytes_here, free),
        *(
            Share(str(one.address), layers, size, one.free)
            for one, layers, size in zip(lent, placed.there, placed.bytes_there, strict=True)
        ),
    )
    return shares, min(share.spare for share in shares)


def _rate(read: int, machine: Machine) -> float | None:
    """Workers are taken to read as fast as this machine."""
    if machine.bandwidth is None:
        return None
    return 1 / (read / machine.bandwidth + len(machine.lent) * WORKER_SECONDS)


def largest_context(
    candidate: Candidate, kv_type: KVType, machine: Machine, sight: Sight | None = None
) -> int:
    """Tokens of the largest context that fits and is not tight, by thousands; 0 if none does.

    With `sight`, so that pictures can be seen. Tried one by one from the top: where attention begins
    to be computed by tiles, more tokens take less memory.
    """
    trained = candidate.header.context_length
    thousands = range(trained // _CONTEXT_STEP * _CONTEXT_STEP, 0, -_CONTEXT_STEP)
    for tokens in chain([trained], thousands):
        setting = Setting(tokens, kv_type, vision=sight is not None)
        if judge(candidate, setting, machine, sight).verdict == "fits":
            return tokens
    return 0
