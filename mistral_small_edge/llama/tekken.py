"""Text to ids as Mistral's tekken defines it, where llama.cpp's own way differs.

llama.cpp cuts text into words with a pattern that knows no combining marks, so that a Hindi vowel
sign ends a word: the ids are other ones than the model was trained on, and half as many again.
And it matches that pattern with a call for every character, so that a word of some ten thousand
(spaces are one, too) takes the process down. Here the true pattern finds the words, and those with
marks or of great length are merged by us: everything else is llama.cpp's, which is faster.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from heapq import heapify, heappop, heappush
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MARK = regex.compile(r"\p{M}")
# The pattern of Mistral's published tekken files.
_WORD = regex.compile(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_REMEMBERED_WORDS = 1 << 14
_FEW_WORDS = 32  # a call of llama.cpp takes longer than to merge so many
_SAFE_LENGTH = 512  # characters that llama.cpp is given as one word


class TekkenEncoder:
    """Encodes like Mistral's own tokenizer.

    Args:
        plain: llama.cpp's encoder.
        token_bytes: the bytes of an id; a lower id is a better merge.
        vocab_size: number of ids.
    """

    def __init__(
        self,
        plain: Callable[[str], list[int]],
        token_bytes: Callable[[int], bytes],
        vocab_size: int,
    ) -> None:
        self._plain = plain
        self._token_bytes = token_bytes
        self._vocab_size = vocab_size
        self._remembered = lru_cache(_REMEMBERED_WORDS)(self._merge)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text."""
        if len(text) <= _SAFE_LENGTH and not _MARK.search(text):
            return self._plain(text)
        ids: list[int] = []
        for plain, run in groupby(_WORD.findall(text), key=_is_plain):
            words = list(run)
            if plain and len(words) > _FEW_WORDS:
                ids += self._plain("".join(words))
            else:
                for word in words:
                    short = len(word) <= _SAFE_LENGTH
                    ids += self._remembered(word) if short else self._merge(word)
        return ids

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        """Control tokens have no bytes and so are never found."""
        pieces = map(self._token_bytes, range(self._vocab_size))
        return {piece: token for token, piece in enumerate(pieces) if piece}

    def _merge(self, word: str) -> tuple[int, ...]:
        """Byte-pair merging, the lowest id first, the leftmost of equals."""
        data = word.encode()
        whole = self._ids.get(data)
        if whole is not None:
            return (whole,)
        bounds = _merged_bounds(data, self._ids)
        return tuple(self._ids[data[start:end]] for start, end in pairwise(bounds))


def _is_plain(word: str) -> bool:
    return len(word) <= _SAFE_LENGTH and not _MARK.search(word)


def _merged_bounds(data: bytes, ids: Mapping[bytes, int]) -> list[int]:
    """Where the parts begin that byte-pair merging leaves, and the end; in n log n steps.

    Two neighbours that are one token together wait in a heap by that token's id. Which two they are
    is not kept: the bytes from the first one's start to the second one's end say it all.
    """
    size = len(data)
    end = list(range(1, size + 1))  # by start, where a part ends; 0 once it is part of another
    start_before = list(range(-1, size))  # by start, where the part before it starts

    def waiting(start: int) -> tuple[int, int, int] | None:
        stop = end[end[start]] if end[start] < size else 0
        token = ids.get(data[start:stop]) if stop else None
        return None if token is None else (token, start, stop)

    heap = [found for start in range(size) if (found := waiting(start))]
    heapify(heap)
    while heap:
        _, start, stop = heappop(heap)
        middle = end[start]
        if not 0 < middle < stop or end[middle] != stop:
            continue  # one of them has been merged with its other neighbour
        end[start], end[middle] = stop, 0
        if stop < size:
            start_before[stop] = start
        for changed in (start_before[start], start):
            if changed >= 0 and (found := waiting(changed)):
                heappush(heap, found)
    return [*(start for start in range(size) if end[start]), size]
