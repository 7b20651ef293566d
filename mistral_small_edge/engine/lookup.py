"""Where the last tokens of a text stood before in it, and what came next there.

An answer that edits, extracts or quotes goes on as its prompt did. The whole text is searched for
each draft: a comparison of all its tokens takes some millionths of a second. Where the last two tokens
never stood together before, as most often in prose, not even that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_MATCH = 2  # one token alone stands in too many places
MAX_MATCH = 32  # of a longer one only this much is looked at
_NEAR = 64  # tokens that an edit may have left out of what is being copied
_PICTURE = -1  # a row of one: it equals nothing, and cannot be drafted


@dataclass(frozen=True, slots=True)
class Found:
    """What may come next, and how many tokens before it were the same."""

    tokens: tuple[int, ...]
    match: int


class Lookup:
    """One sequence's tokens, searchable. They may grow and never change."""

    def __init__(self) -> None:
        self._tokens = np.empty(1024, np.int32)
        self._length = 0
        self._pairs: set[tuple[int, int]] = set()  # tokens that stood side by side
        self._expected = (
            0  # the place from which the last draft was taken, and how far it was right
        )

    def find(self, tokens: Sequence[int], most: int) -> Found | None:
        """The likeliest continuation, of up to `most` tokens."""
        if not self._follow(tokens):
            return None
        at, match = self._place()
        if match < MIN_MATCH:
            return None
        continued = self._continuation(at, most)
        self._expected = at
        return Found(continued, match) if continued else None

    def _follow(self, tokens: Sequence[int]) -> bool:
        """Take in what is new; whether the last two tokens may have stood together before."""
        new = tokens[self._length :]
        length = self._length + len(new)
        if length > len(self._tokens):
            grown = np.empty(2 * length, np.int32)
            grown[: self._length] = self._tokens[: self._length]
            self._tokens = grown
        self._tokens[self._length : length] = [max(token, _PICTURE) for token in new]
        first = max(0, self._length - 1)
        self._expected += len(new)
        self._length = length
        if length < MIN_MATCH:
            return False
        self._pairs.update(zip(tokens[first:-2], tokens[first + 1 : -1], strict=True))
        last = tokens[-2], tokens[-1]
        has_stood = last in self._pairs
        self._pairs.add(last)
        return has_stood

    def _place(self) -> tuple[int, int]:
        """Behind which earlier tokens the text stands as it does at its end; for how many of them.

        Of several places that match as well, the one that a copy in progress has come to, or
        else the latest.
        """
        tokens, end = self._tokens[: self._length], self._length
        if not end or tokens[-1] == _PICTURE:
            return 0, 0
        places = np.flatnonzero(tokens[:-1] == tokens[-1]) + 1
        match = 1 if len(places) else 0
        while match and match < min(MAX_MATCH, end):
            wanted = tokens[end - 1 - match]
            longer = places[places > match]
            longer = (
                longer[tokens[longer - 1 - match] == wanted] if wanted != _PICTURE else longer[:0]
            )
            if not len(longer):
                break
            places, match = longer, match + 1
        return self._preferred(places) if match else 0, match

    def _preferred(self, places: np.ndarray) -> int:
        ahead = places[(places >= self._expected) & (places < self._expected + _NEAR)]
        return int(ahead[0] if len(ahead) else places[-1])

    def _continuation(self, at: int, most: int) -> tuple[int, ...]:
        """What follows at `at`; a text that goes round in circles is taken to go on so."""
        ahead = self._tokens[at : self._length]
        around = np.resize(ahead, most) if len(ahead) < most else ahead[:most]
        pictures = np.flatnonzero(around == _PICTURE)
        return tuple(around[: pictures[0] if len(pictures) else most].tolist())
