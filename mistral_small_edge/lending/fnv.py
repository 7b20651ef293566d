"""The hash that ggml's RPC calls tensors by: FNV-1a, 64 bits, without a loop over bytes.

A step is `h = (h ^ byte) * PRIME`, and each needs the one before; there seems to be nothing to vectorize.
But the exclusive or touches the lowest eight bits alone, and those depend on nothing above them:

- If they were known at every step, `h ^ byte` would be `h + d` with known differences `d`, and the
  whole a polynomial: `h0 * PRIME**n + sum(d[i] * PRIME**(n - i))`.
- Of them, bit k after a step is bit k before it, the byte's, and what is carried from the bits below,
  exclusively or-ed, PRIME being odd. So each bit is a running parity, once the bits below are known.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

EMPTY = 0xCBF29CE484222325  # the hash of nothing
BLOCK = 1 << 18  # bytes taken at once: 7 arrays of them are near the processor's caches

_PRIME = 0x100000001B3
_LOW_PRIME = np.uint8(_PRIME & 0xFF)
_WORD = 64
_MASK = (1 << _WORD) - 1

_Bytes = npt.NDArray[np.uint8]
_Words = npt.NDArray[np.uint64]


class Fnv:
    """The hash of what was given so far."""

    def __init__(self) -> None:
        self.value = EMPTY
        self._powers = np.multiply.accumulate(np.full(BLOCK, _PRIME, np.uint64))

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Go on with more bytes."""
        array = np.frombuffer(data, np.uint8)
        for start in range(0, len(array), BLOCK):
            self._advance(array[start : start + BLOCK])

    @property
    def name(self) -> str:
        """As ggml calls a file."""
        return f"{self.value:016x}"

    def _advance(self, block: _Bytes) -> None:
        low = _low_bytes(block, self.value & 0xFF)
        differences = ((low ^ block).astype(np.int64) - low).view(np.uint64)
        powers = self._powers[: len(block)]
        added = int(np.dot(differences, powers[::-1]))
        self.value = (self.value * int(powers[-1]) + added) & _MASK


def _low_bytes(block: _Bytes, first: int) -> _Bytes:
    """The lowest byte of the hash before each byte of the block."""
    low = np.zeros(len(block), np.uint8)
    for bit in range(8):
        below, here = np.uint8((1 << bit) - 1), np.uint8(1 << bit)
        flips = (((low ^ block) & below) * _LOW_PRIME ^ block) & here
        low |= _parity_before(flips, bool(first & here)) << np.uint8(bit)
    return low


def _parity_before(flips: _Bytes, odd: bool) -> _Bytes:
    """Of each place, whether an odd number of those before it are set; one more if `odd`."""
    packed = np.packbits(flips, bitorder="little")
    words = np.zeros(-(-len(packed) // 8), np.uint64)
    words.view(np.uint8)[: len(packed)] = packed
    for shift in (1, 2, 4, 8, 16, 32):  # a word's own running parity
        words ^= words << np.uint64(shift)
    before = _before_each(words, odd)
    inner = (words << np.uint64(1)) ^ (np.uint64(0) - before)
    return np.unpackbits(inner.view(np.uint8), count=len(flips), bitorder="little")


def _before_each(words: _Words, odd: bool) -> _Words:
    """The parity of all words before each, as 0 or 1."""
    ends = words >> np.uint64(_WORD - 1)
    return np.bitwise_xor.accumulate(np.concatenate(([np.uint64(odd)], ends[:-1])))
