"""What llama.cpp would not survive in a header, refused before it is asked.

llama.cpp trusts a file more than one from the internet deserves: a zero here, a token twice
there, and it aborts the process. Each case found in its source or by fuzzing has its check here.
Much of what llama.cpp refuses by itself is left to it. The weights' values are not looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from gguf import GGUFValueType, Keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mistral_small_edge.gguf.container import Container, Field, Tensor

# Mistral Small and its relatives: known well enough for every tensor to be checked.
FAMILY = ("llama", "mistral3")
PROJECTOR = "clip"  # what looks at pictures, in a file beside the model's

MAX_LAYERS = 512  # this and the next are llama.cpp's
MAX_EXPERTS = 1024
MAX_COUNT = (1 << 31) - 1
MAX_TEXT_BYTES = 1 << 16
# No kernel multiplies by these: they hold other things than weights.
NO_WEIGHTS = ("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K")

_INTEGERS = (GGUFValueType.UINT32, GGUFValueType.INT32)
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
_NO_VOCABULARY = ("none", "no_vocab")
_FAMILY_VOCABULARIES = ("gpt2", "llama")


class Facts:
    """Typed access to a header's keys: the value, or a sentence that says what is wrong with it.

    Types are llama.cpp's: it takes a UINT32 for a count and nothing else.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.refuse = container.refuse
        if Keys.General.ARCHITECTURE not in container.fields:
            self.refuse(f"{Keys.General.ARCHITECTURE} is missing")
        self.architecture = self.text(Keys.General.ARCHITECTURE)
        if not (self.architecture.isascii() and self.architecture.isprintable()):
            self.refuse(f"{Keys.General.ARCHITECTURE} is {self.architecture!r}")

    def key(self, name: str) -> str:
        """The architecture's own key."""
        return f"{self.architecture}.{name}"

    def field(self, key: str, *kinds: GGUFValueType, array: bool = False) -> Field | None:
        """The key's value if it is there; it is of one of `kinds` then."""
        field = self.container.fields.get(key)
        if field is None:
            return None
        if field.kind not in kinds or field.is_array is not array:
            wanted = ("array of " if array else "") + " or ".join(kind.name for kind in kinds)
            self.refuse(f"{key} is stored as {field}, not as {wanted}")
        return field

    def text(self, key: str, default: str | None = None, most: int = MAX_TEXT_BYTES) -> str:
        """A string of at most `most` bytes; without a default it must be there."""
        field = self.field(key, GGUFValueType.STRING)
        if field is None:
            return self._missing(key) if default is None else default
        if field.count > most:
            self.refuse(f"{key} is {field.count:,} bytes long; at most {most:,} are read")
        return self.container.text(key).decode("utf-8", "replace")

    def optional_count(self, key: str) -> int | None:
        """A count by its whole key, if it is there."""
        field = self.field(key, GGUFValueType.UINT32)
        return None if field is None else int(self.container.number(key))

    def flag(self, key: str) -> bool | None:
        """A switch by its whole key, if it is there."""
        field = self.field(key, GGUFValueType.BOOL)
        return None if field is None else bool(self.container.number(key))

    def count(
        self, name: str, *, default: int | None = None, least: int = 0, most: int = MAX_COUNT
    ) -> int:
        """One of the architecture's counts; without a default it must be there."""
        key = self.key(name)
        value = self.optional_count(key)
        if value is None:
            return self._missing(key) if default is None else default
        self._check_range(key, value, least, most)
        return value

    def per_layer(self, name: str, layers: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """A count for every layer: written once, or as an array."""
        key = self.key(name)
        field = self.container.fields.get(key)
        if field is None:
            return default
        if not field.is_array:
            return (self.count(name),) * layers
        self.field(key, *_INTEGERS, array=True)
        if field.count != layers:
            self.refuse(f"{key} has {field.count:,} values for {layers} layers")
        values = tuple(int(value) for value in self.container.numbers(key))
        for value in values:
            self._check_range(key, value, 0, MAX_COUNT)
        return values

    def _check_range(self, key: str, value: int, least: int, most: int) -> None:
        if not least <= value <= most:
            self.refuse(f"{key} is {value}; it must lie between {least} and {most}")

    def _missing(self, key: str) -> NoReturn:
        self.refuse(f"{key} is missing")


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions that checks and header share; heads are per layer."""

    layers: int
    embedding: int
    heads: tuple[int, ...]
    heads_kv: tuple[int, ...]
    key_length: int
    value_length: int
    vocabulary: int


def check_facts(facts: Facts) -> Shape:
    """What llama.cpp asserts of any architecture."""
    layers = facts.count("block_count", least=1, most=MAX_LAYERS)
    embedding = facts.count("embedding_length", least=1)
    heads = facts.per_layer("attention.head_count", layers, (0,) * layers)
    width = embedding // heads[0] if heads[0] else 0
    _check_experts(facts, layers)
    facts.count("nextn_predict_layers", default=0, most=layers)
    causal = facts.key("attention.causal")
    if facts.flag(causal) is False:
        facts.refuse(f"{causal} is false: it reads text and cannot write any")
    scaling = facts.text(facts.key("rope.scaling.type"), "none")
    if scaling not in _ROPE_SCALINGS:
        facts.refuse(
            f"{facts.key('rope.scaling.type')} is {scaling!r}; "
            f"it must be one of {', '.join(_ROPE_SCALINGS)}"
        )
    return Shape(
        layers=layers,
        embedding=embedding,
        heads=heads,
        heads_kv=facts.per_layer("attention.head_count_kv", layers, heads),
        key_length=facts.count("attention.key_length", default=width),
        value_length=facts.count("attention.value_length", default=width),
        vocabulary=_check_vocabulary(facts),
    )


def _check_experts(facts: Facts, layers: int) -> None:
    experts = facts.count("expert_count", default=0, most=MAX_EXPERTS)
    used = max(facts.per_layer("expert_used_count", layers, (0,)))
    groups = facts.count("expert_group_count", default=0)
    used_groups = facts.count("expert_group_used_count", default=0)
    sound = (0 < used <= experts and groups < experts) if experts else not (used or groups)
    if groups > 1:
        sound = sound and experts % groups == 0 and 0 < used_groups < groups
    if not sound:
        facts.refuse(
            f"its mixture of experts cannot be: {used} of {experts} experts used, "
            f"{used_groups} of {groups} groups"
        )


def _check_vocabulary(facts: Facts) -> int:
    model = facts.text(Keys.Tokenizer.MODEL)
    if model in _NO_VOCABULARY:
        facts.refuse("it has no vocabulary, and text needs one")
    key = Keys.Tokenizer.LIST
    field = facts.field(key, GGUFValueType.STRING, array=True)
    if field is None or not 0 < field.count <= MAX_COUNT:
        facts.refuse(f"{key} is missing or empty")
    _check_companions(facts, field.count)
    names = _token_names(facts.container.texts(key))
    distinct = set(names)
    if len(distinct) < len(names):
        twice = Counter(names).most_common(1)[0][0].decode("utf-8", "replace")
        facts.refuse(f"its vocabulary has the token {twice!r} twice")
    if model == "llama":
        _check_byte_tokens(facts, distinct)
    return field.count


def _check_companions(facts: Facts, tokens: int) -> None:
    """The arrays that run along with the vocabulary are long enough."""
    types = facts.field(Keys.Tokenizer.TOKEN_TYPE, GGUFValueType.INT32, array=True)
    scores = facts.field(
        Keys.Tokenizer.SCORES, GGUFValueType.FLOAT32, GGUFValueType.INT32, array=True
    )
    facts.field(Keys.Tokenizer.MERGES, GGUFValueType.STRING, array=True)
    for key, field in ((Keys.Tokenizer.TOKEN_TYPE, types), (Keys.Tokenizer.SCORES, scores)):
        if field is not None and field.count < tokens:
            facts.refuse(f"{key} has {field.count:,} values for {tokens:,} tokens")


def _token_names(tokens: list[bytes]) -> list[bytes]:
    """The names llama.cpp gives them: cut at a zero byte, and made up where nothing is left."""
    if b"\0" not in b"".join(tokens) and all(tokens):
        return tokens
    names = (token.partition(b"\0")[0] for token in tokens)
    return [name or b"[EMPTY_%d]" % token for token, name in enumerate(names)]


def _check_byte_tokens(facts: Facts, tokens: set[bytes]) -> None:
    """Sentencepiece spells what it does not know in bytes; llama.cpp aborts if one has no token."""
    for byte in range(256):
        if b"<0x%02X>" % byte not in tokens and bytes([byte]) not in tokens:
            facts.refuse(f"its vocabulary has no token for the byte {byte:#04x}")


def check_family(facts: Facts, shape: Shape, tensors: Mapping[str, Tensor]) -> None:
    """What llama.cpp asserts of Mistral Small's architectures; says nothing of others."""
    if facts.architecture not in FAMILY:
        return
    _check_heads(facts, shape)
    _check_choices(facts)
    _check_floats(facts)
    _check_shapes(facts, shape, tensors)
    for name, tensor in tensors.items():
        _check_format(facts, name, tensor)


def _check_heads(facts: Facts, shape: Shape) -> None:
    for layer, (heads, heads_kv) in enumerate(zip(shape.heads, shape.heads_kv, strict=True)):
        if not heads or not heads_kv or heads % heads_kv:
            facts.refuse(f"layer {layer} has {heads} heads on {heads_kv} KV heads")
    if facts.key("attention.key_length") not in facts.container.fields and (
        shape.embedding % shape.heads[0]
    ):
        facts.refuse(f"{shape.heads[0]} heads do not divide {shape.embedding} numbers evenly")
    rotated = facts.count("rope.dimension_count", default=shape.key_length)
    if not shape.key_length == shape.value_length == rotated or rotated % 2 or not rotated:
        facts.refuse(
            f"its heads have keys of {shape.key_length}, values of {shape.value_length} and "
            f"{rotated} rotated numbers; the three must be equal and even"
        )


def _check_choices(facts: Facts) -> None:
    vocabulary = facts.text(Keys.Tokenizer.MODEL)
    if vocabulary not in _FAMILY_VOCABULARIES:
        facts.refuse(f"it has a vocabulary of the kind {vocabulary!r}, unknown to its architecture")
    # This splitter hands blanks to a lookup that aborts on them.
    if facts.text(Keys.Tokenizer.PRE, "") == "whitespace":
        facts.refuse(f"{Keys.Tokenizer.PRE} is 'whitespace', which its architecture does not have")
    for wanted, token in (
        (Keys.Tokenizer.ADD_BOS, Keys.Tokenizer.BOS_ID),
        (Keys.Tokenizer.ADD_EOS, Keys.Tokenizer.EOS_ID),
    ):
        if facts.flag(wanted) and facts.optional_count(token) is None:
            facts.refuse(f"{wanted} is true and {token} is missing")


def _check_floats(facts: Facts) -> None:
    for key, field in facts.container.fields.items():
        ours = key.startswith(facts.key(""))
        if not ours or field.is_array or field.kind is not GGUFValueType.FLOAT32:
            continue
        value = facts.container.number(key)
        if not math.isfinite(value) or (value < 0 and key.endswith("epsilon")):
            facts.refuse(f"{key} is {value}")


def _check_shapes(facts: Facts, shape: Shape, tensors: Mapping[str, Tensor]) -> None:
    for name, expected in _expected_shapes(shape):
        tensor = tensors.get(name)
        if tensor is None:
            facts.refuse(f"the tensor {name} is missing")
        if tensor.shape != expected:
            facts.refuse(f"the tensor {name} has the shape {tensor.shape}, not {expected}")


def _expected_shapes(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Tensors that every model of the family has; the rest differs, and llama.cpp checks it."""
    width = (shape.embedding,)
    yield "token_embd.weight", (shape.embedding, shape.vocabulary)
    yield "output_norm.weight", width
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm.weight", width
        yield f"blk.{layer}.attn_output.weight", (shape.heads[0] * shape.key_length, *width)
        yield f"blk.{layer}.ffn_norm.weight", width


def _check_format(facts: Facts, name: str, tensor: Tensor) -> None:
    """Matrices are in a format that has kernels, all else is F32."""
    is_matrix = name.endswith(".weight") and "norm" not in name and "rope" not in name
    sound = tensor.format not in NO_WEIGHTS if is_matrix else tensor.format == "F32"
    if not sound:
        facts.refuse(f"the tensor {name} cannot be in the format {tensor.format}")
