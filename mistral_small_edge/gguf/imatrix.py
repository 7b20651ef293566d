"""An importance matrix: how much each column of each matrix mattered while a text was read.

Written by llama.cpp's `imatrix` tool, today as GGUF (`general.type` is `imatrix`), before as a format
of its own, which most published `.dat` files are in. Both are read with distrust, as models are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.gguf.container import MAX_NAME_BYTES, MAX_TENSORS, open_container

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from mistral_small_edge.gguf.container import Container

_SUMS, _COUNTS = ".in_sum2", ".counts"  # behind a matrix's name, in the GGUF form
_CHUNKS = "imatrix.chunk_count"
_MAX_BYTES = 1 << 30  # of the older form; Mistral Small's takes 25 MB
_INT = struct.Struct("<i")


@dataclass(frozen=True, slots=True)
class Imatrix:
    """`values` has a matrix's name and a mean square for each of its columns (of each expert).

    `chunks` of text were read for it; 0 if the file does not tell.
    """

    values: Mapping[str, NDArray[np.float32]]
    chunks: int


def read_imatrix(path: Path) -> Imatrix:
    """Read either form.

    Raises:
        ModelLoadFailed: it is neither, damaged, or has nothing in it.
    """
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
        found = _read_gguf(path) if is_gguf else _read_older(path)
    except OSError as error:
        raise ModelLoadFailed(path, f"it cannot be read: {error.strerror}") from error
    for name, values in found.values.items():
        if not np.isfinite(values).all() or (values < 0).any():
            raise ModelLoadFailed(path, f"what it has for {name} are no mean squares")
    return found


def _read_gguf(path: Path) -> Imatrix:
    with open_container(path) as container:
        names = [name.removesuffix(_SUMS) for name in container.tensors if name.endswith(_SUMS)]
        if not names:
            container.refuse("it is a GGUF file, and no importance matrix")
        chunks = int(container.number(_CHUNKS)) if _has_number(container, _CHUNKS) else 0
        return Imatrix({name: _means(container, name) for name in names}, chunks)


def _has_number(container: Container, key: str) -> bool:
    field = container.fields.get(key)
    return field is not None and not field.is_array and field.kind.name.startswith(("UINT", "INT"))


def _means(container: Container, name: str) -> NDArray[np.float32]:
    """Sums over tokens divided by how many there were; an expert that saw none has ones."""
    if name + _COUNTS not in container.tensors:
        container.refuse(f"it has sums for {name} and no counts")
    sums, counts = (_floats(container, name + suffix) for suffix in (_SUMS, _COUNTS))
    if sums.size % counts.size:
        container.refuse(f"it has {sums.size} sums and {counts.size} counts for {name}")
    rows = sums.reshape(counts.size, -1)
    # An expert's count of nothing divides nothing.
    means = np.where(counts[:, None] > 0, rows / np.maximum(counts, 1)[:, None], 1)
    return means.astype(np.float32).ravel()


def _floats(container: Container, name: str) -> NDArray[np.float32]:
    if container.tensors[name].format != "F32":
        container.refuse(f"{name} is in the format {container.tensors[name].format}, not F32")
    return np.frombuffer(container.stored(name), "<f4").copy()  # the file is closed before its use


def _read_older(path: Path) -> Imatrix:
    """A count of entries; for each a name, how often it was summed up, and the sums."""
    if path.stat().st_size > _MAX_BYTES:
        raise ModelLoadFailed(path, "it is too large for an importance matrix")
    reader = _Reader(path, path.read_bytes())
    values: dict[str, NDArray[np.float32]] = {}
    for _ in range(reader.count("entries", MAX_TENSORS)):
        name = reader.name()
        calls = max(reader.integer(), 1)
        values[name] = reader.floats(name) / np.float32(calls)
    return Imatrix(values, max(reader.integer(), 0) if reader.has_more else 0)


class _Reader:
    """Takes bytes off the front, or says that these are not an importance matrix's."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data, self._at = path, data, 0

    @property
    def has_more(self) -> bool:
        return self._at + _INT.size <= len(self._data)

    def integer(self) -> int:
        value: int = _INT.unpack(self._take(_INT.size))[0]
        return value

    def count(self, what: str, most: int) -> int:
        value = self.integer()
        if not 0 < value <= most:
            raise ModelLoadFailed(
                self._path, f"it is not an importance matrix: it would have {value:,} {what}"
            )
        return value

    def name(self) -> str:
        raw = self._take(self.count("letters in a name", MAX_NAME_BYTES))
        name = raw.decode("ascii", "replace")
        if not (name.isascii() and name.isprintable()):
            raise ModelLoadFailed(
                self._path, "it is not an importance matrix: no matrix has such names"
            )
        return name

    def floats(self, name: str) -> NDArray[np.float32]:
        size = self.count(f"values for {name}", _MAX_BYTES // 4)
        return np.frombuffer(self._take(4 * size), "<f4")

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise ModelLoadFailed(self._path, "it is cut short, or not an importance matrix")
        self._at += size
        return taken
