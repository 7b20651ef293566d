"""A model cut down to its first layer: what is found out with it in a second holds for all of them.

The layer is whole; of the vocabulary only some rows are left, and no names.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter

from mistral_small_edge.gguf.container import open_container

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mistral_small_edge.gguf.container import Container, Tensor

VOCABULARY = 256
_FORMATS = {kind.name for kind in GGMLQuantizationType}  # that the writer knows
_BY_TOKEN = ("token_embd.weight", "output.weight")  # a row for each token


def write_first_layer(source: Path, target: Path) -> bool:
    """Write a file that llama.cpp loads as `source`'s first layer; False if it cannot be cut.

    Raises:
        ModelLoadFailed: `source` is damaged.
        OSError: `target` cannot be written.
    """
    with open_container(source) as container:
        if not any(name.startswith("blk.0.") for name in container.tensors):
            return False
        architecture = container.text("general.architecture").decode()
        own = {key for key in container.fields if key.startswith(f"{architecture}.")}
        if any(container.fields[key].is_array for key in own):
            return False  # layers differ: the first one says little
        if not {tensor.format for tensor in container.tensors.values()} <= _FORMATS:
            return False
        with closing(GGUFWriter(target, architecture)) as writer:
            _write_keys(writer, container, architecture, own)
            for name, tensor in container.tensors.items():
                if name.startswith("blk.0.") or not name.startswith("blk."):
                    kind = GGMLQuantizationType[tensor.format]
                    writer.add_tensor(name, _stored(container, name, tensor), raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
    return True


def _write_keys(writer: GGUFWriter, container: Container, architecture: str, own: set[str]) -> None:
    changed = {f"{architecture}.block_count", f"{architecture}.vocab_size"}
    for key in sorted(own - changed):
        kind = container.fields[key].kind
        if kind is GGUFValueType.STRING:
            writer.add_string(key, container.text(key).decode("utf-8", "replace"))
        else:
            writer.add_key_value(key, container.number(key), kind)
    writer.add_block_count(1)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("no_vocab")


def _stored(container: Container, name: str, tensor: Tensor) -> NDArray[np.uint8]:
    """Its bytes, (…, rows, bytes of a row); they are the file's own, not copied."""
    rows = tensor.shape[1:][::-1]
    stored = np.frombuffer(container.stored(name), np.uint8)
    stored = stored.reshape(*rows, -1) if rows else stored
    return stored[:VOCABULARY] if name in _BY_TOKEN else stored
