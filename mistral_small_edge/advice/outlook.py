"""One build, run one way, on one machine: what it takes, how fast it can be, and a verdict.

A speed is the bound that memory sets: no token is written before the weights, and what the context
holds, were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import readable_size
from mistral_small_edge.memory import choose_flash_attention, plan, step_bytes

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be expected of one build run one way.

    Attributes:
        available: bytes of memory that can be had.
        disk_short: bytes that the disk lacks for what would have to be fetched.
        rate: tokens a second at most, the context half full; None if memory's speed is not known.
    """

    candidate: Candidate
    setting: Setting
    memory: MemoryPlan
    available: int
    disk_short: int
    rate: float | None

    @property
    def spare(self) -> int:
        """Bytes of memory that stay free; below 0, those that are missing."""
        return self.available - self.memory.total

    @property
    def verdict(self) -> Verdict:
        """See SPARE_BYTES for what is tight."""
        if self.spare < 0 or self.disk_short:
            return "no"
        return "tight" if self.spare < min(SPARE_BYTES, self.available // SPARE_SHARE) else "fits"

    @property
    def reason(self) -> str:
        """Why, as it goes on from the build's name: it `leaves 3.3 GB`, it `lacks 1.4 GB`."""
        spare = readable_size(abs(self.spare))
        if self.spare < 0:
            return f"lacks {spare}"
        if self.disk_short:
            return f"lacks {readable_size(self.disk_short)} of disk"
        return f"leaves {spare}" if self.verdict == "fits" else f"leaves only {spare}"


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
    missing = candidate.missing + (seeing.missing if seeing else 0)
    read = step_bytes(header, setting.kv_type).behind(setting.context_length // 2)
    return Outlook(
        candidate=candidate,
        setting=setting,
        memory=memory,
        available=machine.host.available_memory,
        disk_short=0 if machine.free_disk is None else max(0, missing - machine.free_disk),
        rate=None if machine.bandwidth is None else machine.bandwidth / read,
    )


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
