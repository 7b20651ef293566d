"""A model whose answers wait until they are let go: a slow machine without the waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.chat.deltas import Delta
    from mistral_small_edge.chat.messages import ChatRequest
    from mistral_small_edge.errors import EdgeError
    from mistral_small_edge.llm import LLM, Stream


class HeldLLM:
    """Stands for `llm`; its streams give nothing before `release`, unless they are closed.

    `interruption` is what a test makes it.
    """

    def __init__(self, llm: LLM) -> None:
        self.interruption: EdgeError | None = None
        self._llm = llm
        self._streams: list[HeldStream] = []
        self._released = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._llm, name)

    def as_llm(self) -> LLM:
        """For those who ask for the real one."""
        return cast("LLM", self)

    def stream(self, request: ChatRequest) -> HeldStream:
        """A stream that waits."""
        stream = HeldStream(self._llm.stream(request))
        self._streams.append(stream)
        if self._released:
            stream.go()
        return stream

    def release(self) -> None:
        """Let every stream go, also those to come."""
        self._released = True
        for stream in self._streams:
            stream.go()


class HeldStream:
    """A stream behind a gate."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._listener: Callable[[], None] | None = None
        self._open = False

    def go(self) -> None:
        """Open the gate."""
        self._open = True
        if self._listener is not None:
            self._stream.listen(self._listener)

    @property
    def ended(self) -> bool:
        """Whether all was read."""
        return self._stream.ended

    def listen(self, listener: Callable[[], None]) -> None:
        """As a stream does, once the gate is open."""
        self._listener = listener
        if self._open:
            self._stream.listen(listener)

    def take(self) -> list[Delta]:
        """Nothing before the gate is open."""
        return self._stream.take() if self._open else []

    def close(self) -> None:
        """Give up the answer."""
        self._stream.close()
        self.go()
