"""An answer on its way from a server: a thread reads the connection, and whoever asked reads the deltas.

So it can be waited for, looked at without waiting, and given up from any thread, as an answer that is
computed here.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self

from mistral_small_edge.chat.deltas import Delta, Finish
from mistral_small_edge.errors import EdgeError, ServerFailed
from mistral_small_edge.llm.remote.events import EventReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mistral_small_edge.llm.remote.connection import Events

_Item = Delta | EdgeError | None  # None: closed


class RemoteStream:
    """An iterator of deltas. Read it from one thread; close it any time."""

    def __init__(self, owner: object, url: str, events: Events) -> None:
        self._owner = owner  # whose connection must live until the answer is read
        self._events = events
        self._inbox = _Inbox()
        self._ended = False
        # It holds no reference to the stream: one that nobody reads any more is closed.
        threading.Thread(
            target=_fill, args=(self._inbox, url, events), name="answer", daemon=True
        ).start()

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        item = None if self._ended else self._inbox.items.get()
        self._ended = item is None or isinstance(item, Finish | EdgeError)
        if item is None:
            raise StopIteration
        if isinstance(item, EdgeError):
            raise item
        return item

    @property
    def ended(self) -> bool:
        """Whether everything has been read, or it was closed."""
        return self._ended

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when there is something to take: now, and by the reading thread.

        It is to return at once.
        """
        self._inbox.listener = listener
        listener()

    def take(self) -> list[Delta]:
        """What is there, without waiting for more.

        Raises:
            What reading raises, but not before all else was taken.
        """
        taken: list[Delta] = []
        while not self._ended and not self._inbox.items.empty():
            item = self._inbox.items.get()
            if isinstance(item, EdgeError) and taken:
                self._inbox.put(item)  # nothing comes after it: it is the next again
                break
            self._ended = item is None or isinstance(item, Finish | EdgeError)
            if isinstance(item, EdgeError):
                raise item
            if item is not None:
                taken.append(item)
        return taken

    def close(self) -> None:
        """Give up the rest of the answer: the server is told by hanging up. Idempotent."""
        self._end(None)

    def fail(self, error: EdgeError) -> None:
        """End it with an error for who reads it, unless it is over."""
        self._end(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _end(self, item: EdgeError | None) -> None:
        if not self._inbox.complete:
            self._inbox.put(item)
            self._events.hang_up()


class _Inbox:
    """What the one thread hands to the other."""

    def __init__(self) -> None:
        self.items: SimpleQueue[_Item] = SimpleQueue()
        self.listener: Callable[[], None] = _nobody
        self.complete = False  # its last item is there

    def put(self, item: _Item) -> None:
        self.complete = self.complete or item is None or isinstance(item, Finish | EdgeError)
        self.items.put(item)
        self.listener()


def _nobody() -> None:
    pass


def _fill(inbox: _Inbox, url: str, events: Events) -> None:
    """Read to the end of the response, so that its connection can serve another one."""
    failure: EdgeError = ServerFailed(url, "the answer broke off")
    try:
        reader = EventReader(url)
        for event in events:
            for delta in reader.deltas(event):
                inbox.put(delta)
    except EdgeError as error:
        failure = error
    except (KeyError, TypeError, ValueError, AttributeError):
        failure = ServerFailed(url, "it sent what no server of this program sends")
    if not inbox.complete:
        inbox.put(failure)
