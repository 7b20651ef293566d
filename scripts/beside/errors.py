"""What ends a comparison."""

from __future__ import annotations


class CompareFailed(Exception):
    """One sentence for the person; `log` holds the last lines of whoever died, if somebody did."""

    def __init__(self, sentence: str, log: str = "") -> None:
        super().__init__(sentence)
        self.log = log


class AnswerTooShort(CompareFailed):
    """A model had little to say: that round tells nothing, and others may."""
