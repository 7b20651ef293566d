"""Where the last tokens of a text stood before in it, and what came next there.

An answer that edits, extracts or quotes goes on as its prompt did. The whole text is searched for
each draft: a comparison of all its tokens takes some millionths of a second. Where the last token is
new to the text, not even that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MATCH = 32  # of a longer one only this much is looked at
_NEAR = 64  # tokens that an edit may have left out of what is being copied
_COPIES = 2  # in progress: a record as the one before, and its values out of a letter
_PICTURE = -1  # a row of one: it equals nothing, and cannot be drafted


@dataclass(frozen=True, slots=True)
class Found:
    """What may come next, how many tokens before it were the same, and the place it was found at."""

    tokens: tuple[int, ...]
    match: int
    place: int


class Lookup:
    """One sequence's tokens, searchable. They may grow and never change."""

    def __init__(self) -> None:
        self._tokens = np.empty(1024, np.int32)
        self._length = 0
        self._earlier: set[int] = set()  # all but the last one
        self._copies: list[int] = []  # how far back each takes its tokens from, the latest first

    def find(self, tokens: Sequence[int], most: int) -> Found | None:
        """The likeliest continuation, of up to `most` tokens."""
        if not self._follow(tokens):
            return None
        place, match = self._place()
        if not match:
            return None
        continued = self._continuation(place, most)
        return Found(continued, match, place) if continued else None

    def confirm(self, place: int, length: int) -> None:
        """Expect more from behind `place`: what was found there was right behind `length` tokens."""
        for distance in self._copies:
            if 0 <= place - (length - distance) < _NEAR:  # this one has gone on
                self._copies.remove(distance)
                break
        self._copies = [length - place, *self._copies][:_COPIES]

    def _follow(self, tokens: Sequence[int]) -> bool:
        """Take in what is new; whether the last token stood in the text before."""
        start, length = self._length, len(tokens)
        if length > len(self._tokens):
            grown = np.empty(2 * length, np.int32)
            grown[:start] = self._tokens[:start]
            self._tokens = grown
        self._tokens[start:length] = [max(token, _PICTURE) for token in tokens[start:]]
        self._length = length
        self._earlier.update(tokens[max(0, start - 1) : -1])
        return length > 0 and tokens[-1] in self._earlier

    def _place(self) -> tuple[int, int]:
        """Behind which earlier tokens the text stands as it does at its end; for how many of them.

        Of several places that match as well, the one that a copy in progress has come to, or
        else the latest one.
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
        for distance in self._copies:
            expected = self._length - distance
            ahead = places[(places >= expected) & (places < expected + _NEAR)]
            if len(ahead):
                return int(ahead[0])
        return int(places[-1])

    def _continuation(self, at: int, most: int) -> tuple[int, ...]:
        """What follows at `at`; a text that goes round in circles is taken to go on so."""
        ahead = self._tokens[at : self._length]
        around = np.resize(ahead, most) if len(ahead) < most else ahead[:most]
        pictures = np.flatnonzero(around == _PICTURE)
        return tuple(around[: pictures[0] if len(pictures) else most].tolist())
