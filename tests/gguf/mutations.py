"""Damage to GGUF headers: random, repeatable by its seed, and aimed where it hurts.

Besides flipped bits it overwrites what a parser trusts: counts, types, values, dimensions, names.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gguf import GGUFValueType

from mistral_small_edge.gguf.container import Field, open_container

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

# Bounds of every integer type, sizes of blocks, and the dimensions of tiny models.
WHOLE = (
    *(0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 255, 256, 275),
    *(511, 512, 513, 4096, 1 << 15, 1 << 16, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31),
    *((1 << 32) - 1, 1 << 32, 1 << 48, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
REAL = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e30, -1e30, float("inf"), float("-inf"), float("nan"))


@dataclass(frozen=True, slots=True)
class Original:
    """A sound file: its bytes, where its header ends, its keys, and its tensors' places.

    A tensor's place is the offset just after its name, and its number of dimensions.
    """

    data: bytes
    header_size: int
    fields: tuple[tuple[str, Field], ...]
    tensors: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, path: Path) -> Original:
        """Take a sound file apart."""
        data = path.read_bytes()
        with open_container(path) as container:
            fields, names = tuple(container.fields.items()), tuple(container.tensors)
        tensors = []
        for name in names:
            prefix = struct.pack("<Q", len(name)) + name.encode()
            at = data.index(prefix) + len(prefix)
            tensors.append((name, at, struct.unpack_from("<I", data, at)[0]))
        _, at, dimensions = tensors[-1]
        return cls(data, at + 4 + 8 * dimensions + 12, fields, tuple(tensors))


def mutate(original: Original, random: Random) -> tuple[bytes, str]:
    """The file with one to three things wrong, and what they are."""
    data = bytearray(original.data)
    kinds = (_flip, _overwrite, _change_value, _change_value, _change_type, _change_tensor)
    done = [
        random.choice(kinds)(data, original, random) for _ in range(random.choice((1, 1, 2, 3)))
    ]
    if random.random() < 0.05:
        del data[random.randrange(len(data)) :]
        done.append(f"cut to {len(data)} bytes")
    return bytes(data), "; ".join(done)


def _flip(data: bytearray, original: Original, random: Random) -> str:
    at, bit = random.randrange(original.header_size), random.randrange(8)
    data[at] ^= 1 << bit
    return f"bit {bit} of byte {at} flipped"


def _overwrite(data: bytearray, original: Original, random: Random) -> str:
    size, value = random.choice((1, 4, 8)), random.choice(WHOLE)
    at = random.randrange(original.header_size - size)
    data[at : at + size] = _low_bytes(value, size)
    return f"{size} bytes at {at} set to {value}"


def _change_value(data: bytearray, original: Original, random: Random) -> str:
    key, field = random.choice(original.fields)
    value = random.choice(WHOLE)
    sized = field.is_array or field.kind is GGUFValueType.STRING
    if sized and random.random() < 0.4:
        struct.pack_into("<Q", data, field.at - 8, value)
        return f"the length of {key} set to {value}"
    if field.kind is GGUFValueType.FLOAT32:
        real = random.choice(REAL)
        struct.pack_into("<f", data, field.at, real)
        return f"{key} set to {real}"
    size = 1 if field.kind in (GGUFValueType.STRING, GGUFValueType.BOOL) else 4
    at = field.at + size * random.randrange(field.count)
    data[at : at + size] = _low_bytes(value, size)
    return f"{size} bytes at {at} in {key} set to {value}"


def _change_type(data: bytearray, original: Original, random: Random) -> str:
    key, field = random.choice(original.fields)
    kind = random.randrange(14)
    # The type stands before the value, or before the length of a string or an array.
    before = 12 if field.is_array or field.kind is GGUFValueType.STRING else 4
    struct.pack_into("<I", data, field.at - before, kind)
    return f"{key} given the type {kind}"


def _change_tensor(data: bytearray, original: Original, random: Random) -> str:
    name, at, dimensions = random.choice(original.tensors)
    value = random.choice(WHOLE)
    what = random.choice(("dimensions", "shape", "format", "offset", "name"))
    match what:
        case "dimensions":
            struct.pack_into("<I", data, at, value & 0xFFFFFFFF)
        case "shape":
            struct.pack_into("<Q", data, at + 4 + 8 * random.randrange(dimensions), value)
        case "format":
            value = random.randrange(44)
            struct.pack_into("<I", data, at + 4 + 8 * dimensions, value)
        case "offset":
            struct.pack_into("<Q", data, at + 8 + 8 * dimensions, value)
        case "name":
            value = random.choice(b"abcdefghijklmnopqrstuvwxyz._0123456789")
            data[at - random.randint(1, len(name))] = value
    return f"{what} of the tensor {name} set to {value}"


def _low_bytes(value: int, size: int) -> bytes:
    return struct.pack("<Q", value)[:size]
