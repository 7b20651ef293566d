"""An answer that is known beforehand, as a constraint: each token leaves no choice but the next.

For measuring what guessing is worth where the model itself says nothing sensible: all work is done,
and only what is drawn is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Recorded:
    """A Constraint that allows these tokens, in this order."""

    forbidden: tuple[int, ...] = ()
    prose_until: int | None = None

    def __init__(self, tokens: Sequence[int], vocab_size: int) -> None:
        self._tokens = tuple(tokens)
        self._said = 0
        self._mask = bytearray(-(-vocab_size // 8))

    @property
    def complete(self) -> bool:
        """Whether all was said."""
        return self._said == len(self._tokens)

    def allowed(self) -> bytes:
        """One bit set, for the next token."""
        token = self._tokens[self._said]
        self._mask[token // 8] = 1 << token % 8
        mask = bytes(self._mask)
        self._mask[token // 8] = 0
        return mask

    def forced(self) -> tuple[int, ...]:
        """Nothing: that there is one way only is not to be known."""
        return ()

    def accept(self, token: int) -> None:
        """Go on behind it."""
        if token != self._tokens[self._said]:
            raise ValueError(f"{token} is not what was recorded")
        self._said += 1
