"""The result held against its source: nothing lost, nothing added, and of the type that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gguf import Keys

from mistral_small_edge.errors import QuantizeFailed
from mistral_small_edge.quantization.contents import is_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.quantization.contents import Contents
    from mistral_small_edge.quantization.recipes import Recipe

# What the quantizer itself writes, and what it joins.
_CHANGED = (Keys.General.FILE_TYPE, Keys.General.QUANTIZATION_VERSION)
_CHANGED_BEGINNINGS = ("split.",)


def check(before: Contents, after: Contents, recipe: Recipe) -> None:
    """See that `after` is `before` in smaller numbers.

    Raises:
        QuantizeFailed: it is something else; the first difference is the reason.
    """
    for difference in differences(before, after, recipe):
        raise QuantizeFailed(before.path, f"what llama.cpp has written is not it: {difference}")


def differences(before: Contents, after: Contents, recipe: Recipe) -> Iterator[str]:
    """What is not as it should be, a sentence each."""
    for name in before.tensors.keys() ^ after.tensors.keys():
        yield f"the tensor {name} is {'missing' if name in before.tensors else 'new'}"
    for name in before.tensors.keys() & after.tensors.keys():
        was, now = before.tensors[name], after.tensors[name]
        if was.shape != now.shape:
            yield f"the tensor {name} has the shape {now.shape}, not {was.shape}"
        if not is_matrix(was) and was.format != now.format:
            yield f"the vector {name} is in {now.format}, not in {was.format}"
    for key in _kept(before) ^ _kept(after):
        yield f"the key {key} is {'missing' if key in before.values else 'new'}"
    for key in _kept(before) & _kept(after):
        if before.values[key] != after.values[key]:
            yield f"the value of {key} has changed"
    if after.label != recipe.name:
        yield f"it says that it is {after.label or 'of no type'}, not {recipe.name}"


def _kept(contents: Contents) -> set[str]:
    return {
        key
        for key in contents.values
        if key not in _CHANGED and not key.startswith(_CHANGED_BEGINNINGS)
    }
