"""GGUF as a container: typed keys and the places of tensors, read from a file nobody vouches for.

Every count and length is checked against the bytes that are left before it is used, and nothing
is copied until it is asked for: time and memory follow the header's size, not its claims. Knows
the syntax (GGUF 2 and 3, little-endian) and no model: what keys mean is `header.py`'s to say.
"""

from __future__ import annotations

import mmap
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, NoReturn

from gguf import GGML_QUANT_SIZES, GGUFValueType

from mistral_small_edge.errors import ModelLoadFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Far above any published model, low enough to be walked in a second or two.
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_ARRAY_STRINGS = 1 << 21  # over all arrays of the file; Mistral's 131k tokens need 400k
MAX_ARRAY_BYTES = 1 << 26  # of one array of strings; Mistral's tokens take 2 MB
MAX_KEY_BYTES = 255  # the format allows more; those in use have fewer than 100
MAX_NAME_BYTES = 63  # llama.cpp's
MAX_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SCALARS = {
    GGUFValueType.UINT8: struct.Struct("<B"),
    GGUFValueType.INT8: struct.Struct("<b"),
    GGUFValueType.UINT16: struct.Struct("<H"),
    GGUFValueType.INT16: struct.Struct("<h"),
    GGUFValueType.UINT32: struct.Struct("<I"),
    GGUFValueType.INT32: struct.Struct("<i"),
    GGUFValueType.FLOAT32: struct.Struct("<f"),
    GGUFValueType.BOOL: struct.Struct("<?"),
    GGUFValueType.UINT64: struct.Struct("<Q"),
    GGUFValueType.INT64: struct.Struct("<q"),
    GGUFValueType.FLOAT64: struct.Struct("<d"),
}

# Number formats of tensors: name, elements a block, bytes a block. Q2_0 is younger than the gguf
# package and as old as the llama.cpp that is linked.
FORMATS: dict[int, tuple[str, int, int]] = {
    **{kind.value: (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()},
    42: ("Q2_0", 64, 18),
}

_OTHER_FILES = (
    (b"version https://git-lfs", "a Git LFS pointer; the file itself was not fetched"),
    (b"<!", "a web page"),
    (b"<html", "a web page"),
    (b"<HTML", "a web page"),
    (b"<?xml", "an XML document"),
    (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"tjgg", "a GGML file from before GGUF"),
    (b"fmgg", "a GGML file from before GGUF"),
    (b"lmgg", "a GGML file from before GGUF"),
    (b"{", "JSON"),
)


@dataclass(frozen=True, slots=True)
class Field:
    """A key's value, still in the file: `count` elements (bytes of a string) of `kind` at `at`."""

    kind: GGUFValueType
    is_array: bool
    count: int
    at: int

    def __str__(self) -> str:
        return f"array of {self.kind.name}" if self.is_array else self.kind.name


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` is GGUF's, fastest dimension first; `format` names its numbers; `size` in bytes."""

    shape: tuple[int, ...]
    format: str
    size: int


class Container:
    """One open GGUF file of `size` bytes. `fields` and `tensors` are in the file's order."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.fields: dict[str, Field] = {}
        self.tensors: dict[str, Tensor] = {}
        self._data = data
        self.size = len(data)
        self._at = 0
        self._strings_left = MAX_ARRAY_STRINGS
        self._read()

    def refuse(self, reason: str) -> NoReturn:
        """Raise ModelLoadFailed for this file."""
        raise ModelLoadFailed(self.path, reason)

    def number(self, key: str) -> float:
        """The value of a scalar that is no string: int, float or bool by its kind."""
        field = self.fields[key]
        value: float = _SCALARS[field.kind].unpack_from(self._data, field.at)[0]
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """The elements of an array of numbers."""
        field = self.fields[key]
        code = _SCALARS[field.kind].format[1:]
        return struct.unpack_from(f"<{field.count}{code}", self._data, field.at)

    def text(self, key: str) -> bytes:
        """The bytes of a string."""
        field = self.fields[key]
        return self._data[field.at : field.at + field.count]

    def stored(self, name: str) -> memoryview:
        """A tensor's bytes, until the container is closed."""
        at = _padded(self._at, self._alignment())
        for other, tensor in self.tensors.items():
            if other == name:
                return memoryview(self._data)[at : at + tensor.size]
            at += _padded(tensor.size, self._alignment())
        raise KeyError(name)

    def texts(self, key: str) -> list[bytes]:
        """The elements of an array of strings."""
        field, data, unpack = self.fields[key], self._data, _U64.unpack_from
        at, found = field.at, []
        for _ in range(field.count):
            end = at + 8 + unpack(data, at)[0]
            found.append(data[at + 8 : end])
            at = end
        return found

    def _read(self) -> None:
        self._read_magic()
        tensors, keys = self._read_u64("the tensor count"), self._read_u64("the key count")
        # The smallest key: one letter, a type and a byte. The smallest tensor has no dimensions.
        self._check_count("keys", keys, MAX_KEYS, 8 + 1 + 4 + 1)
        self._check_count("tensors", tensors, MAX_TENSORS, 8 + 1 + 4 + 4 + 8)
        for _ in range(keys):
            self._read_field()
        alignment = self._alignment()
        offset = 0
        for _ in range(tensors):
            offset = self._read_tensor(offset, alignment)
        self._check_data(alignment)

    def _read_magic(self) -> None:
        if self._data[:4] != b"GGUF":
            self.refuse(f"it is not a GGUF file{_guess(self._data)}")
        self._at = 4
        version = self._read_u32("the version")
        if version and not version & 0xFFFF:
            self.refuse("it is a big-endian GGUF file; only little-endian ones can be read")
        if version not in (2, 3):
            self.refuse(f"it is GGUF version {version}; versions 2 and 3 can be read")

    def _check_count(self, what: str, count: int, most: int, smallest: int) -> None:
        if count > most:
            self.refuse(f"its header claims {count:,} {what}; at most {most:,} are read")
        if count * smallest > self.size - self._at:
            self._cut_short(f"{count:,} {what}")

    def _cut_short(self, what: str) -> NoReturn:
        self.refuse(f"it is cut short or damaged: {what} would end after its {self.size:,} bytes")

    def _take(self, size: int, what: str) -> int:
        """The offset of the next `size` bytes, which are there."""
        at = self._at
        if size > self.size - at:
            self._cut_short(what)
        self._at = at + size
        return at

    def _read_u32(self, what: str) -> int:
        value: int = _U32.unpack_from(self._data, self._take(4, what))[0]
        return value

    def _read_u64(self, what: str) -> int:
        value: int = _U64.unpack_from(self._data, self._take(8, what))[0]
        return value

    def _read_name(self, what: str, most: int) -> str:
        size = self._read_u64(what)
        if not 0 < size <= most:
            self.refuse(f"its header is damaged: a {what} of {size:,} bytes")
        at = self._take(size, what)
        name = self._data[at : at + size].decode("ascii", "replace")
        if not (name.isascii() and name.isprintable()):
            self.refuse(f"its header is damaged: a {what} reads {name!r}")
        return name

    def _read_field(self) -> None:
        key = self._read_name("key", MAX_KEY_BYTES)
        if key in self.fields:
            self.refuse(f"its header has {key} twice")
        kind = self._read_kind(key)
        if kind is GGUFValueType.ARRAY:
            self.fields[key] = self._read_array(key)
        elif kind is GGUFValueType.STRING:
            size = self._read_u64(key)
            self.fields[key] = Field(kind, False, size, self._take(size, key))
        else:
            self.fields[key] = Field(kind, False, 1, self._take(_SCALARS[kind].size, key))

    def _read_kind(self, key: str) -> GGUFValueType:
        value = self._read_u32(key)
        if value > GGUFValueType.FLOAT64:
            self.refuse(f"its header is damaged: {key} has the unknown type {value}")
        return GGUFValueType(value)

    def _read_array(self, key: str) -> Field:
        kind, count = self._read_kind(key), self._read_u64(key)
        if kind is GGUFValueType.ARRAY:
            self.refuse(f"its header is damaged: {key} is an array of arrays")
        if kind is GGUFValueType.STRING:
            return Field(kind, True, count, self._skip_strings(key, count))
        # No claim can overflow here: Python's integers do not.
        size = count * _SCALARS[kind].size
        return Field(kind, True, count, self._take(size, f"the {count:,} values of {key}"))

    def _skip_strings(self, key: str, count: int) -> int:
        """Walk past `count` strings; where they began."""
        self._check_count(f"strings in {key}", count, self._strings_left, 8)
        self._strings_left -= count
        begin = at = self._at
        data, unpack = self._data, _U64.unpack_from
        try:
            for _ in range(count):
                at += 8 + unpack(data, at)[0]
        except (struct.error, OverflowError):
            at = self.size + 1
        self._take(at - begin, f"the {count:,} strings of {key}")
        if at - begin > MAX_ARRAY_BYTES:
            self.refuse(f"{key} takes {at - begin:,} bytes; at most {MAX_ARRAY_BYTES:,} are read")
        return begin

    def _alignment(self) -> int:
        key = "general.alignment"
        field = self.fields.get(key)
        if field is None:
            return DEFAULT_ALIGNMENT
        if field.is_array or field.kind is not GGUFValueType.UINT32:
            self.refuse(f"{key} is stored as {field}, not as UINT32")
        value = int(self.number(key))
        # llama.cpp hands mapped tensors to kernels that want 32 bytes, and aborts if they are not.
        if value < DEFAULT_ALIGNMENT or value & (value - 1):
            self.refuse(f"{key} is {value}; it must be a power of two, 32 or more")
        return value

    def _read_tensor(self, expected: int, alignment: int) -> int:
        """Read one tensor's place; where the next one must begin."""
        name = self._read_name("tensor name", MAX_NAME_BYTES)
        if name in self.tensors:
            self.refuse(f"its header has the tensor {name} twice")
        dimensions = self._read_u32(name)
        if dimensions > MAX_DIMENSIONS:
            self.refuse(f"tensor {name} has {dimensions} dimensions; at most 4 can be")
        shape = tuple(self._read_u64(name) for _ in range(dimensions))
        tensor = self._tensor(name, shape, self._read_u32(name))
        offset = self._read_u64(name)
        if offset != expected:
            self.refuse(f"tensor {name} begins at byte {offset:,} of the data, not {expected:,}")
        self.tensors[name] = tensor
        return offset + _padded(tensor.size, alignment)

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int) -> Tensor:
        if kind not in FORMATS:
            self.refuse(f"tensor {name} has the unknown number format {kind}")
        format_name, block, block_bytes = FORMATS[kind]
        elements = 1
        for dimension in shape:
            elements *= dimension
        if not 0 < elements < 1 << 63:
            self.refuse(f"tensor {name} has the shape {list(shape)}")
        row = shape[0] if shape else 1
        if row % block:
            self.refuse(
                f"tensor {name} has rows of {row}, {format_name} takes multiples of {block}"
            )
        return Tensor(shape, format_name, elements // block * block_bytes)

    def _check_data(self, alignment: int) -> None:
        """Every tensor's bytes are there; padding after the last need not be."""
        if not self.tensors:
            return
        *others, last = (tensor.size for tensor in self.tensors.values())
        end = _padded(self._at, alignment) + sum(_padded(size, alignment) for size in others) + last
        if end > self.size:
            self.refuse(
                f"it is cut short: {end - self.size:,} bytes are missing of the {end:,} "
                "that its header describes"
            )


@contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Read a GGUF file's header; the container is good until the block ends.

    Raises:
        ModelLoadFailed: no such file, not GGUF, or damaged.
    """
    try:
        status = path.stat()
        if S_ISDIR(status.st_mode):
            raise ModelLoadFailed(path, "it is a directory, not a GGUF file")
        if not S_ISREG(status.st_mode):
            raise ModelLoadFailed(path, "it is not a regular file")
        if not status.st_size:
            raise ModelLoadFailed(path, "the file is empty")
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ModelLoadFailed(path, f"it cannot be read: {reason or error}") from error
    with data:
        yield Container(path, data)


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _guess(data: mmap.mmap) -> str:
    """What a file that is no GGUF looks like, as the end of a sentence."""
    head = data[:64].lstrip()
    for magic, what in _OTHER_FILES:
        if head.startswith(magic):
            return f" but {what}"
    # Safetensors begins with the length of its JSON header.
    return " but safetensors" if data[8:9] == b"{" else ""
