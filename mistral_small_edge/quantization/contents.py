"""What a GGUF file holds besides its numbers: every key's value, every tensor's shape and format."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gguf import GGUFValueType, Keys, LlamaFileType

from mistral_small_edge.gguf import is_projector, read_header, read_projector
from mistral_small_edge.gguf.container import Container, open_container

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mistral_small_edge.gguf.container import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """One model, of all its parts together.

    Attributes:
        path: of its first part.
        context_length: tokens it was trained for; None if it is no language model but a projector.
        values: by key; strings as bytes.
        tensors: by name, in the file's order.
        file_size: bytes of all parts.
    """

    path: Path
    context_length: int | None
    values: Mapping[str, object]
    tensors: Mapping[str, Tensor]
    file_size: int

    @property
    def bits_a_weight(self) -> float:
        """Of all tensors, the vectors that are never quantized included."""
        numbers = sum(math.prod(tensor.shape) for tensor in self.tensors.values())
        return 8 * sum(tensor.size for tensor in self.tensors.values()) / numbers

    @property
    def formats(self) -> Mapping[str, int]:
        """How many matrices are in which number format, the most frequent first."""
        found: dict[str, int] = {}
        for tensor in self.tensors.values():
            if is_matrix(tensor):
                found[tensor.format] = found.get(tensor.format, 0) + 1
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def label(self) -> str:
        """Its type's name, as in `Q4_K_M`; empty if the file does not tell."""
        number = self.values.get(Keys.General.FILE_TYPE)
        if not isinstance(number, int) or number not in list(LlamaFileType):
            return ""
        return LlamaFileType(number).name.removeprefix("ALL_").removeprefix("MOSTLY_")


def is_matrix(tensor: Tensor) -> bool:
    """Whether it has more than one row; vectors are never quantized."""
    return math.prod(tensor.shape[1:]) > 1


def read_contents(path: Path) -> Contents:
    """Read a language model, split or not, or a projector.

    Raises:
        ModelLoadFailed: as `gguf.read_header` and `gguf.read_projector`.
    """
    header = None
    if is_projector(path):
        read_projector(path)
    else:
        header = read_header(path)
    with ExitStack() as stack:
        parts = (path,) if header is None else header.parts
        opened = [stack.enter_context(open_container(part)) for part in parts]
        first = opened[0]
        return Contents(
            path=path,
            context_length=None if header is None else header.context_length,
            values={key: _value(first, key) for key in first.fields},
            tensors={name: one for part in opened for name, one in part.tensors.items()},
            file_size=sum(part.size for part in opened),
        )


def _value(container: Container, key: str) -> object:
    field = container.fields[key]
    is_text = field.kind is GGUFValueType.STRING
    if field.is_array:
        return container.texts(key) if is_text else container.numbers(key)
    return container.text(key) if is_text else container.number(key)
