"""Every default of the program, written once, with its unit.

Frozen values that say how an engine is set up. Doors (CLI, server, Python) take their defaults
from here and hand a value back; nothing else in the package has an opinion about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

Speculation = Literal["auto", "off"]
KVType = Literal["f16", "q8_0", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]
Repack = Literal["auto", "on", "off"]

DEFAULT_MODEL = "mistral-small-3.2"
DEFAULT_CONTEXT_LENGTH = 8192  # tokens; a model trained on fewer gets its own number
MOST_PROMPT_MEMORY = 8_000_000_000  # bytes that are taken unasked
MIN_CONTEXT_LENGTH = 64  # tokens; less cannot hold a chat template and an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How one model is loaded and driven.

    Attributes:
        context_length: tokens one sequence can hold, prompt and answer together; None takes
            DEFAULT_CONTEXT_LENGTH or the model's own, whichever is less.
        max_sequences: requests computed at the same time; each has its own KV lane.
        at_once: answers that are expected to be written at the same time (1..`max_sequences`). Those that must
            repeat are computed as is fastest for so many, and are the same however many there are.
        prefill_chunk: the most prompt tokens computed in one go (1..4096); fewer where that takes long.
        prefill_seconds: how long that may take, about, while others are being answered, who wait for it; the
            shorter, the longer a prompt takes as a whole.
        threads: compute threads; None takes the physical performance cores that the affinity
            mask and the cgroup quota leave.
        gpu_layers: layers given to an accelerator; None means all on Apple Metal, 0 elsewhere.
        kv_type: number format of the KV cache.
        flash_attention: `auto` is off where memory allows, for exactness, on otherwise.
        repack: lay weights out anew for the processor's own kernels; `auto` tries once what is faster
            for two tokens read and one written. In memory they then stand beside the file's.
        mlock: pin the weights in memory.
        force: load even if the plan says that memory will not do.
        vision: see pictures, if the model's projector is here.
        projector: a projector of one's own (a path or an `hf:` address); None takes the model's.
        prompt_cache: a folder where prompts that were read outlive the process.
        prompt_memory: bytes of memory for prompts whose slot is taken by another; 0 keeps none, None takes
            a quarter of what is free, MOST_PROMPT_MEMORY at most.
        speculation: `auto` guesses what an answer takes from its prompt and checks several tokens
            at once where that is faster; the answer stays what it is.
        draft_model: a smaller model of the same vocabulary, that writes ahead where the prompt has nothing
            to repeat; what `LLM.load` takes as a model.
        image_cache: a folder where what pictures look like to the model outlives the process.
        workers: machines that lend memory and cores, as `host:port`; the first layers that are not computed
            here go to the first one.
        worker_timeout: seconds that one step may take until a worker is given up as hanging.
    """

    context_length: int | None = None
    max_sequences: int = 1
    at_once: int = 1
    prefill_chunk: int = 512
    prefill_seconds: float = 1.0
    threads: int | None = None
    gpu_layers: int | None = None
    kv_type: KVType = "f16"
    flash_attention: FlashAttention = "auto"
    repack: Repack = "auto"
    mlock: bool = False
    speculation: Speculation = "auto"
    draft_model: str | Path | None = None
    force: bool = False
    vision: bool = True
    projector: str | Path | None = None
    image_cache: Path | None = None
    prompt_cache: Path | None = None
    prompt_memory: int | None = None
    workers: tuple[str, ...] = ()
    worker_timeout: float = 120.0

    def __post_init__(self) -> None:
        if self.context_length is not None:
            _at_least("context_length", self.context_length, MIN_CONTEXT_LENGTH)
        _at_least("max_sequences", self.max_sequences, 1)
        _at_least("at_once", self.at_once, 1)
        if self.at_once > self.max_sequences:
            raise InvalidRequest(
                f"at_once is {self.at_once}, and no more than {self.max_sequences} are computed at the same "
                "time (max_sequences)",
                "at_once",
            )
        _at_least("prefill_chunk", self.prefill_chunk, 1)
        if not self.prefill_seconds > 0:
            raise InvalidRequest("prefill_seconds must be above 0", "prefill_seconds")
        if self.prompt_memory is not None:
            _at_least("prompt_memory", self.prompt_memory, 0)
        if self.threads is not None:
            _at_least("threads", self.threads, 1)
        if self.gpu_layers is not None:
            _at_least("gpu_layers", self.gpu_layers, 0)
        _one_of("kv_type", self.kv_type, get_args(KVType))
        if self.projector is not None and not self.vision:
            raise InvalidRequest("a projector is named and vision is off", "projector")
        _one_of("flash_attention", self.flash_attention, get_args(FlashAttention))
        _one_of("repack", self.repack, get_args(Repack))
        _one_of("speculation", self.speculation, get_args(Speculation))
        if self.draft_model is not None and self.speculation == "off":
            raise InvalidRequest("a draft model is named and speculation is off", "draft_model")
        if not self.worker_timeout > 0:
            raise InvalidRequest("worker_timeout must be above 0", "worker_timeout")
        if self.workers and self.gpu_layers:
            raise InvalidRequest("workers are named, and layers for an accelerator here", "workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How the server listens, and what it lets in.

    Attributes:
        host, port: where it listens; only this machine reaches 127.0.0.1.
        api_keys: any of them opens the door; none, and it stands open.
        origins: web pages that may call it, as `https://example.org`; `*` is any.
        aliases: further names that the model answers to.
        max_queue: requests that may wait for a slot.
        request_timeout: seconds an answer may take, the waiting included; None is no bound.
        heartbeat: seconds without an event until a stream shows that it is alive.
        grace: seconds that running answers have when the server is told to stop.
        max_body: bytes of a request.
        body_timeout: seconds a request's body may take to arrive.
        lenient: pass over fields that are not known, and name them in a response header.
        image_urls: fetch pictures from public http and https addresses that clients name.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    max_queue: int = 32
    request_timeout: float | None = None
    heartbeat: float = 5.0
    grace: float = 30.0
    max_body: int = 64_000_000
    body_timeout: float = 60.0
    lenient: bool = False
    image_urls: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InvalidRequest(f"port is {self.port}; it must be at most 65535", "port")
        _at_least("max_queue", self.max_queue, 0)
        if self.request_timeout is not None and not self.request_timeout > 0:
            raise InvalidRequest("request_timeout must be above 0", "request_timeout")
        if not all(self.api_keys):
            raise InvalidRequest("an API key is empty", "api_key")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InvalidRequest(f"{name} is {value}; it must be at least {least}", name)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidRequest(f"{name} is {value!r}; it must be one of {', '.join(choices)}", name)
