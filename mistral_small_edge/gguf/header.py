"""What a GGUF file says about its model.

Facts only, typed and checked to be sane; no weights are read. Whether llama.cpp would survive the
file is `checks.py`'s business, called from here; whether the linked llama.cpp can run the
architecture is nobody's here.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gguf import GGUFValueType, Keys, LlamaFileType

from mistral_small_edge.gguf.checks import PROJECTOR, Facts, check_facts, check_family
from mistral_small_edge.gguf.container import Container, Tensor, open_container

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_FLOATS = ("F32", "F16", "BF16")
_OF_A_LAYER = re.compile(r"blk\.([0-9]+)\.")
_EXPERTS = "_exps."  # in the names of tensors that hold one matrix an expert
MAX_TEMPLATE_BYTES = 1 << 20  # the longest in use have some 20,000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHeader:
    """One model's facts.

    Attributes:
        architecture: `general.architecture`, `llama` or `mistral3` for Mistral Small.
        name: the model's own, or else the file's.
        quantization: `Q4_K_M` and the like.
        block_count: layers.
        embedding_length: numbers that stand for a token between layers.
        feed_forward_length: of the widest layer; 0 if the file does not tell.
        head_count, head_count_kv: of the layer that has most; 0 without attention.
        key_length, value_length: numbers a head has in the K and in the V cache.
        context_length: tokens the model was trained for.
        vocab_size: tokens it knows.
        has_float_matrices: whether a matrix that rows are multiplied by is not quantized.
        chat_template: the Jinja source that came with it.
        parts: the file; of a split model all of them, first to last.
        parameter_bytes: of all tensors.
        layer_bytes: of each layer's; they differ where a recipe mixes formats.
        step_bytes: of what one token is multiplied by: of the embedding nothing unless it is the
            output too, of experts as many as are used.
        file_size: bytes of all parts.
    """

    architecture: str
    name: str
    quantization: str
    block_count: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    value_length: int
    context_length: int
    vocab_size: int
    has_float_matrices: bool
    chat_template: str | None
    parts: tuple[Path, ...]
    parameter_bytes: int
    layer_bytes: tuple[int, ...]
    step_bytes: int
    file_size: int


def read_header(path: Path) -> ModelHeader:
    """Read and check the header of a GGUF file, or of a split one by its first part.

    Raises:
        ModelLoadFailed: it is no GGUF, damaged, cut short, or would take llama.cpp down.
    """
    with ExitStack() as stack:
        first = stack.enter_context(open_container(path))
        later = [stack.enter_context(open_container(part)) for part in _later_parts(first)]
        return _header(first, later)


def _header(first: Container, later: Sequence[Container]) -> ModelHeader:
    facts = Facts(first)
    if facts.architecture == PROJECTOR:
        first.refuse("it is a projector, which looks at pictures for a language model and is none")
    tensors = _all_tensors(first, later)
    shape = check_facts(facts)
    check_family(facts, shape, tensors)
    return ModelHeader(
        architecture=facts.architecture,
        name=_name(facts) or first.path.stem,
        quantization=quantization_label(facts, tensors),
        block_count=shape.layers,
        embedding_length=shape.embedding,
        feed_forward_length=max(facts.per_layer("feed_forward_length", shape.layers, (0,))),
        head_count=max(shape.heads),
        head_count_kv=max(shape.heads_kv),
        key_length=shape.key_length,
        value_length=shape.value_length,
        context_length=facts.count("context_length", least=1),
        vocab_size=shape.vocabulary,
        has_float_matrices=_has_float_matrices(tensors),
        chat_template=_chat_template(facts),
        parts=tuple(part.path for part in (first, *later)),
        parameter_bytes=sum(tensor.size for tensor in tensors.values()),
        layer_bytes=_layer_bytes(shape.layers, tensors),
        step_bytes=_step_bytes(facts, shape.layers, tensors),
        file_size=sum(part.size for part in (first, *later)),
    )


def _later_parts(first: Container) -> list[Path]:
    """The files a split model needs beside its first one; none of them has been looked at."""
    count = _split_number(first, Keys.Split.LLM_KV_SPLIT_COUNT, 1)
    if count < 2:
        return []
    number = _split_number(first, Keys.Split.LLM_KV_SPLIT_NO, 0)
    match = re.fullmatch(rf"(.+)-(\d{{5}})-of-{count:05}\.gguf", first.path.name)
    if match is None or int(match[2]) != number + 1:
        first.refuse(
            f"it is part {number + 1} of {count} of a split model and must be named "
            f"…-{number + 1:05}-of-{count:05}.gguf"
        )
    names = [f"{match[1]}-{at:05}-of-{count:05}.gguf" for at in range(1, count + 1)]
    if number:
        first.refuse(f"it is part {number + 1} of {count}; load the model by {names[0]}")
    missing = [name for name in names if not first.path.with_name(name).exists()]
    if missing:
        first.refuse(f"{len(missing)} of its {count} parts are missing, {missing[0]} for one")
    return [first.path.with_name(name) for name in names[1:]]


def _split_number(part: Container, key: str, default: int) -> int:
    field = part.fields.get(key)
    if field is None:
        return default
    # llama.cpp aborts on any other type.
    if field.is_array or field.kind is not GGUFValueType.UINT16:
        part.refuse(f"{key} is stored as {field}, not as UINT16")
    return int(part.number(key))


def _all_tensors(first: Container, later: Sequence[Container]) -> Mapping[str, Tensor]:
    tensors = dict(first.tensors)
    for number, part in enumerate(later, start=1):
        if _split_number(part, Keys.Split.LLM_KV_SPLIT_NO, 0) != number:
            part.refuse(f"it should be part {number + 1} of {first.path.name} and says otherwise")
        for name, tensor in part.tensors.items():
            if name in tensors:
                part.refuse(f"it has the tensor {name}, and so does another part")
            tensors[name] = tensor
    if not tensors:
        first.refuse("it holds no tensors: a vocabulary without a model")
    return tensors


def quantization_label(facts: Facts, tensors: Mapping[str, Tensor]) -> str:
    """The label of the file's recipe; without one, the format most bytes are in."""
    recipe = facts.optional_count(Keys.General.FILE_TYPE)
    if recipe is not None and recipe in list(LlamaFileType):
        return LlamaFileType(recipe).name.removeprefix("ALL_").removeprefix("MOSTLY_")
    sizes: dict[str, int] = {}
    for tensor in tensors.values():
        sizes[tensor.format] = sizes.get(tensor.format, 0) + tensor.size
    return max(sizes, key=sizes.__getitem__)


def _has_float_matrices(tensors: Mapping[str, Tensor]) -> bool:
    looked_up = _looked_up(tensors)
    return any(
        tensor.format in _FLOATS and len(tensor.shape) > 1 and name not in looked_up
        for name, tensor in tensors.items()
    )


def _layer_bytes(layers: int, tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    sizes = [0] * layers
    for name, tensor in tensors.items():
        match = _OF_A_LAYER.match(name)
        if match is not None and int(match[1]) < layers:
            sizes[int(match[1])] += tensor.size
    return tuple(sizes)


def _step_bytes(facts: Facts, layers: int, tensors: Mapping[str, Tensor]) -> int:
    looked_up = _looked_up(tensors)
    experts = facts.count("expert_count", default=0)
    used = max(facts.per_layer("expert_used_count", layers, (0,)))
    return sum(
        tensor.size * used // experts if experts and _EXPERTS in name else tensor.size
        for name, tensor in tensors.items()
        if name not in looked_up
    )


def _looked_up(tensors: Mapping[str, Tensor]) -> frozenset[str]:
    """Rows are looked up in the embedding, not multiplied by it, unless it is the output too."""
    return frozenset({"token_embd.weight"} if "output.weight" in tensors else ())


def _name(facts: Facts) -> str:
    """The model's name, without what would steer a terminal."""
    return "".join(filter(str.isprintable, facts.text(Keys.General.NAME, ""))).strip()


def _chat_template(facts: Facts) -> str | None:
    source = facts.text(Keys.Tokenizer.CHAT_TEMPLATE, "", most=MAX_TEMPLATE_BYTES)
    return source or None
