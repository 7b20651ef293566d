"""Text to ids as Mistral's tekken defines it, where llama.cpp's own way differs.

llama.cpp cuts text into words with a pattern that knows no combining marks, so that a Hindi vowel
sign ends a word: the ids are other ones than the model was trained on, and half as many again.
Here the true pattern finds the words with marks, and only those are merged by us: everything else
is llama.cpp's, which is faster.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import regex

if TYPE_CHECKING:
    from collections.abc import Callable

_MARK = regex.compile(r"\p{M}")
# The pattern of Mistral's published tekken files.
_WORD = regex.compile(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_REMEMBERED_WORDS = 1 << 14
_FEW_WORDS = 32  # a call of llama.cpp takes longer than to merge so many


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
        self._merged = lru_cache(_REMEMBERED_WORDS)(self._merge)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text."""
        if not _MARK.search(text):
            return self._plain(text)
        ids: list[int] = []
        for plain, run in groupby(_WORD.findall(text), key=lambda word: not _MARK.search(word)):
            words = list(run)
            if plain and len(words) > _FEW_WORDS:
                ids += self._plain("".join(words))
            else:
                for word in words:
                    ids += self._merged(word)
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
        parts = [bytes([byte]) for byte in data]
        while len(parts) > 1:
            pairs = [self._ids.get(a + b, self._vocab_size) for a, b in pairwise(parts)]
            best = min(pairs)
            if best == self._vocab_size:
                break
            at = pairs.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return tuple(self._ids[part] for part in parts)
