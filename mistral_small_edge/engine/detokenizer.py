"""Token bytes to text that may be shown.

Bytes become whole characters, and text that could still turn out to be the beginning of a stop
string is held back until it is known. Knows bytes and strings only.
"""

from __future__ import annotations

import codecs


class Detokenizer:
    """Feed it bytes; it gives text, until `stopped`.

    `decoded` and `released` count characters: what the bytes so far spell, and what has been
    given out. They tell the caller which tokens' text is out.
    """

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._stops = stops
        # A byte that is no UTF-8 becomes U+FFFD; an unfinished character waits for its rest.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.decoded = 0
        self.released = 0
        self.stopped = False

    def feed(self, piece: bytes) -> str:
        """Text that is now certain; empty once stopped."""
        return self._take(self._decoder.decode(piece))

    def finish(self) -> str:
        """What was still held back when no more bytes come."""
        text = self._take(self._decoder.decode(b"", final=True))
        if self.stopped:
            return text
        rest, self._held = self._held, ""
        self.released += len(rest)
        return text + rest

    def control(self) -> str:
        """A control token stands here: no character and no stop string spans it."""
        text = self.finish()
        self._decoder.reset()
        return text

    def drop_stops(self) -> None:
        """What follows is not prose: no stop string ends it."""
        self._stops = ()

    def _take(self, text: str) -> str:
        if self.stopped:
            return ""
        self.decoded += len(text)
        text = self._held + text
        end = _stopped_at(self._stops, text)
        if end is not None:
            self.stopped = True
        else:
            end = len(text) - _unfinished_stop(self._stops, text)
        self._held = "" if self.stopped else text[end:]
        self.released += end
        return text[:end]


def _stopped_at(stops: tuple[str, ...], text: str) -> int | None:
    """Where the stop string begins that is complete first, the longest if several are at once.

    The first to be complete, not the first to begin: that does not depend on how the text was cut.
    """
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return min(found)[1] if found else None


def _unfinished_stop(stops: tuple[str, ...], text: str) -> int:
    """Length of the longest end of `text` that begins, but does not complete, a stop string."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        end = text[-length:]
        if any(stop.startswith(end) for stop in stops):
            return length
    return 0
