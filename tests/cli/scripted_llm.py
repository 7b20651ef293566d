"""A model whose answers follow from the question, in the shape of `LLM` and `Stream`.

Run as a program it holds a conversation on its own terminal, for tests that need a real one; an
argument is the name of a session.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Self, cast

from mistral_small_edge.chat.deltas import (
    Delta,
    Finish,
    FinishReason,
    ImageProgress,
    Progress,
    TextDelta,
    Timings,
    Usage,
)
from mistral_small_edge.chat.messages import ImagePart
from mistral_small_edge.cli.chat import converse
from mistral_small_edge.cli.saving import begun
from mistral_small_edge.errors import ContextLengthExceeded, EngineStopped
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.chat.messages import ChatRequest
    from mistral_small_edge.llm import LLM

ESCAPES = "\x1b[31mred\x1b]0;title\x07 \x9b2J\rover\ttab\nline"


class ScriptedStream:
    """Deltas from a script; `closed` counts how often it was closed."""

    def __init__(self, script: Iterator[Delta], impatient: bool = False) -> None:
        self._script = script
        self._impatient = impatient
        self.closed = 0

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        return next(self._script)

    def close(self) -> None:
        self.closed += 1
        if self._impatient:
            signal.raise_signal(signal.SIGINT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ScriptedLLM:
    """Answers at once; `requests` and `streams` are what it was asked and what it gave."""

    name = "scripted"
    context_length = 8192
    sees = True
    default_sampling = SamplingParams(temperature=0.15)

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.streams: list[ScriptedStream] = []

    def stream(self, request: ChatRequest) -> ScriptedStream:
        self.requests.append(request)
        question = request.messages[-1].text
        if question == "too long":
            raise ContextLengthExceeded(prompt_tokens=9000, limit=self.context_length)
        stream = ScriptedStream(_script(request, question), impatient=question == "impatient")
        self.streams.append(stream)
        return stream

    @property
    def asked(self) -> list[list[tuple[str, str]]]:
        """The conversations it was sent, as pairs of role and content."""
        return [[(said.role, said.text) for said in r.messages] for r in self.requests]

    def as_llm(self) -> LLM:
        """Itself, where the type of the real one is asked for."""
        return cast("LLM", self)


def _script(request: ChatRequest, question: str) -> Iterator[Delta]:
    yield Progress(processed=2, total=10, cached=2)
    pictures = [p for said in request.messages for p in said.parts if isinstance(p, ImagePart)]
    for number in range(1, len(pictures) + 1):
        yield from (ImageProgress(number, len(pictures), done) for done in (0.0, 0.5, 1.0))
    match question:
        case "read forever":
            threading.Event().wait()
        case "write forever" | "interrupt" | "impatient":
            yield from (TextDelta("one "), TextDelta("two "), TextDelta("three"))
            _stop_or_wait(question)
        case "interrupt reading":
            signal.raise_signal(signal.SIGINT)
        case "break":
            yield TextDelta("half an ans")
            raise EngineStopped("it fell over")
    text = _answer(request, question)
    yield Progress(processed=10, total=10, cached=2)
    for start in range(0, len(text), 3):
        yield TextDelta(text[start : start + 3])
    reason: FinishReason = "length" if question in ("cut", "full") else "stop"
    tokens = 5 if question == "cut" else 20
    yield Finish(reason, Usage(10, tokens, 2), Timings(0.0, 0.5, 0.4))


def _stop_or_wait(question: str) -> None:
    if question == "write forever":
        threading.Event().wait()
    signal.raise_signal(signal.SIGINT)


def _answer(request: ChatRequest, question: str) -> str:
    match question:
        case "what was said?":
            return json.dumps([f"{said.role}: {said.content}" for said in request.messages])
        case "escapes":
            return ESCAPES
        case "nothing":
            return ""
        case "lines":
            return "one\ntwo\n"
    return f"you said {question!r}"


if __name__ == "__main__":
    model = ScriptedLLM()
    name = sys.argv[1] if len(sys.argv) > 1 else None
    with begun(name, resume=False, no_save=False, interactive=True) as (saving, session):
        converse(model.as_llm(), model.default_sampling, session, saving)
