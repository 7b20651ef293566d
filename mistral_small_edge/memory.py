"""How much memory a model takes on this machine, before any of it is taken.

Pure arithmetic over a header's facts; the shapes of the buffers are llama.cpp's, read in its
graphs and checked against what it reports. Says whether flash attention is worth its rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from mistral_small_edge.errors import InvalidRequest, NotEnoughMemory
from mistral_small_edge.host import choose_threads

if TYPE_CHECKING:
    from mistral_small_edge.config import FlashAttention, KVType
    from mistral_small_edge.gguf import ModelHeader, ProjectorHeader
    from mistral_small_edge.host import Host

MAX_SCORES_BYTES = 1 << 30  # attention scores kept whole rather than computed by tiles

_LANE_STEP = 256  # rows; llama.cpp rounds a sequence's lane up to a multiple
_FLOAT, _HALF = 4, 2
_BLOCK = 32  # numbers that a quantized KV type stores together
_BLOCK_BYTES: dict[KVType, int] = {"f16": 64, "q8_0": 34, "q4_0": 18}
_LOGITS_ROWS = 32  # of a chunk: a guess that is checked, or a prompt whose probabilities are wanted
_CHANNELS = 3  # of a picture's pixel
_FLASH_TILE = 64  # rows and columns a thread works on at a time

# Measured: Python with everything imported and llama.cpp started; a token's name, piece and merges.
PROGRAM_BYTES = 65_000_000
_TOKEN_BYTES = 430


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes, by purpose.

    Attributes:
        weights: all tensors; mapped from the file, they become resident as they are used.
        kv: the K and V cache of all lanes, resident from the start.
        compute: the largest batch's intermediate results.
        inputs: of these, the rows and the mask that they begin with.
        logits: what comes out at the end.
        program: the interpreter, libraries and the vocabulary.
        vision: the projector, and the intermediate results of the largest picture; resident from
            the first picture on.
        draft: a smaller model that writes ahead, with all that it needs.
    """

    weights: int
    kv: int
    compute: int
    inputs: int
    logits: int
    program: int
    vision: int = 0
    draft: int = 0

    def with_draft(self, draft: MemoryPlan) -> Self:
        """With another model in the same program."""
        return replace(self, draft=draft.total - draft.program)

    def kept(self, header: ModelHeader, layers: int) -> Self:
        """What stays here where only the first `layers` are computed here, and the others elsewhere.

        The embedding and the output matrix stay, and what pictures and a smaller model take. On top
        come the messages between machines.
        """
        if layers == header.block_count:
            return self
        return replace(
            self,
            weights=self.weights - sum(header.layer_bytes[layers:]),
            kv=self.kv * layers // header.block_count,
            compute=(self.compute if layers else self.inputs) + self.inputs,
        )

    @property
    def beside_layers(self) -> int:
        """What another machine takes that computes some layers: results, and the message they begin with."""
        return self.compute + self.inputs

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Purpose and bytes, the largest concern first."""
        parts = (
            ("weights", self.weights),
            ("context", self.kv),
            ("seeing", self.vision),
            ("guessing", self.draft),
            ("computing", self.compute + self.logits),
            ("program", self.program),
        )
        return tuple((purpose, size) for purpose, size in parts if size)

    @property
    def total(self) -> int:
        """All parts together."""
        computing = self.compute + self.logits
        return self.weights + self.kv + computing + self.program + self.vision + self.draft


@dataclass(frozen=True, slots=True)
class StepBytes:
    """What computing one token reads from memory at the least.

    Attributes:
        weights: bytes, whatever the token.
        row: bytes of one earlier token's K and V.
    """

    weights: int
    row: int

    def behind(self, tokens: int) -> int:
        """Bytes, with so many tokens in the context."""
        return self.weights + tokens * self.row


def plan(
    header: ModelHeader,
    host: Host,
    *,
    context_length: int,
    max_sequences: int,
    kv_type: KVType,
    flash_attention: bool,
    prefill_chunk: int,
    projector: ProjectorHeader | None = None,
) -> MemoryPlan:
    """What `max_sequences` conversations of `context_length` tokens will take at most.

    With a projector also what looking at the largest picture takes.
    """
    lane = -(-context_length // _LANE_STEP) * _LANE_STEP
    rows = min(max(prefill_chunk, max_sequences), context_length * max_sequences)
    compute = rows * _row_bytes(header, lane, flash_attention)
    if flash_attention:
        compute += choose_threads(host) * _flash_scratch_bytes(header)
    return MemoryPlan(
        weights=header.parameter_bytes,
        kv=max_sequences * lane * kv_bytes_per_token(header, kv_type),
        compute=compute,
        inputs=rows * (header.embedding_length * _FLOAT + _mask_bytes(lane, flash_attention)),
        logits=max(max_sequences, _LOGITS_ROWS) * header.vocab_size * _FLOAT,
        program=PROGRAM_BYTES + header.vocab_size * _TOKEN_BYTES,
        vision=0 if projector is None else vision_bytes(projector),
    )


def check(memory: MemoryPlan, host: Host) -> None:
    """Refuse a plan that this machine cannot hold now.

    Raises:
        NotEnoughMemory: it needs more than is available, cgroup limits included.
    """
    if memory.total > host.available_memory:
        raise NotEnoughMemory(memory.total, host.available_memory, memory.parts)


def kv_bytes_per_token(header: ModelHeader, kv_type: KVType) -> int:
    """What one token of context takes in the K and V cache."""
    numbers = header.block_count * header.head_count_kv * (header.key_length + header.value_length)
    return numbers * _BLOCK_BYTES[kv_type] // _BLOCK


def can_quantize_kv(header: ModelHeader) -> bool:
    """Whether the model's heads are whole blocks of a quantized KV type."""
    return not (header.key_length % _BLOCK or header.value_length % _BLOCK)


def step_bytes(header: ModelHeader, kv_type: KVType) -> StepBytes:
    """What a token of one sequence reads; all layers are taken to look at all of the context."""
    return StepBytes(header.step_bytes, kv_bytes_per_token(header, kv_type))


def vision_bytes(projector: ProjectorHeader) -> int:
    """What looking at pictures takes, by the largest one, and with flash attention.

    The projector is read whole, not mapped. Its layers share one buffer, so their number counts
    by their weights only. Nearly all of it stays allocated from the first picture on.
    """
    cell = projector.patch_size * projector.spatial_merge_size
    cells = -(-projector.image_size // cell)  # of a side; a part of one is stretched to a whole
    patches = (cells * projector.spatial_merge_size) ** 2
    return projector.parameter_bytes + patches * _patch_bytes(projector)


def choose_flash_attention(
    header: ModelHeader,
    *,
    context_length: int,
    kv_type: KVType,
    prefill_chunk: int,
    wanted: FlashAttention,
) -> bool:
    """Whether to compute attention by tiles.

    `auto` is off, so that a result does not depend on how a prompt was cut into chunks, unless
    the KV type needs it or the scores would take more than MAX_SCORES_BYTES.

    Raises:
        InvalidRequest: `off` with a quantized KV type, or a KV type the model's heads do not fit.
    """
    quantized = kv_type != "f16"
    if quantized and not can_quantize_kv(header):
        raise InvalidRequest(
            f"kv_type is {kv_type}, which stores {_BLOCK} numbers together; this model's heads "
            f"have {header.key_length}: take f16",
            "kv_type",
        )
    if quantized and wanted == "off":
        raise InvalidRequest(
            f"flash_attention is off and kv_type is {kv_type}, which needs it: take auto, or f16",
            "flash_attention",
        )
    if wanted != "auto":
        return wanted == "on"
    scores = header.head_count * prefill_chunk * context_length * _FLOAT
    return quantized or scores > MAX_SCORES_BYTES


def _row_bytes(header: ModelHeader, lane: int, flash_attention: bool) -> int:
    """Intermediate results of one token: the wider of feed-forward and attention, and a mask."""
    queries = header.head_count * header.key_length
    widest = max(header.feed_forward_length, header.embedding_length)
    feed_forward = 3 * widest + 3 * header.embedding_length + queries
    scores = 0 if flash_attention else header.head_count * lane
    attention = 5 * queries + scores
    # Outside the buffer: before a product with quantized weights the row is quantized too, to about
    # a byte a number, and before that of the scores with V, which is F16, they become F16.
    scratch = max(widest, scores * _HALF)
    return max(feed_forward, attention) * _FLOAT + _mask_bytes(lane, flash_attention) + scratch


def _mask_bytes(lane: int, flash_attention: bool) -> int:
    """Which earlier tokens one token looks at."""
    return lane * (_HALF if flash_attention else _FLOAT)


def _flash_scratch_bytes(header: ModelHeader) -> int:
    return _FLASH_TILE * (header.key_length + header.value_length + 2 * _FLASH_TILE) * _FLOAT


def _patch_bytes(projector: ProjectorHeader) -> int:
    """Intermediate results of one patch; feed-forward is where most are alive at once."""
    pixels = _CHANNELS * projector.patch_size**2
    token = projector.projection_dim // projector.spatial_merge_size**2  # its share of one
    width, widest = projector.embedding_length, max(projector.feed_forward_length, token)
    buffer = (3 * max(widest, width) + 4 * width) * _FLOAT + pixels * (_FLOAT + _HALF)
    # Outside the buffer: a row as F16 before a product with F16 weights, the picture (as bytes
    # from the caller and resized, as floats by pixel and by channel), and the result.
    return buffer + widest * _HALF + pixels * (2 + 2 * _FLOAT) + token * _FLOAT
