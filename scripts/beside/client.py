"""A client that keeps the time: chat completions as streams, by the standard library's HTTP.

It runs on the same cores as the server that it times, so it does as little as it can.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any

from scripts.beside.errors import AnswerTooShort, CompareFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Messages = list[dict[str, str]]
_PATIENCE = 1800.0  # seconds without a byte: a long prompt on a slow machine
_DATA = b"data: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        tokens: the most that the answer may have.
        endless: the answer may not end before.
        temperature: without a seed, so that only 0 gives the same again.
        session: by what a proxy before several servers knows the conversation.
    """

    messages: Messages
    tokens: int
    endless: bool = True
    temperature: float = 0.0
    session: str | None = None


@dataclass(slots=True)
class Answer:
    """What came, and when: times are of the monotonic clock, one for each piece of text."""

    sent: float
    arrivals: list[float] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    end: float = 0.0
    usage: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)

    @property
    def time_to_first_token(self) -> float:
        """Seconds."""
        return self.arrivals[0] - self.sent

    @property
    def decode_rate(self) -> float:
        """Tokens a second, of those after the first."""
        return (self.completion_tokens - 1) / (self.arrivals[-1] - self.arrivals[0])

    @property
    def gaps(self) -> list[float]:
        """Seconds between pieces."""
        return [
            later - earlier
            for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False)
        ]

    @property
    def prompt_tokens(self) -> int:
        """As the server counts them."""
        return int(self.usage["prompt_tokens"])

    @property
    def completion_tokens(self) -> int:
        """As the server counts them."""
        return int(self.usage["completion_tokens"])

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that the server says it need not read."""
        return int((self.usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


@dataclass(frozen=True, slots=True)
class Client:
    """A way to one server on this machine.

    Attributes:
        name: the server's, for errors.
        model: what it calls its model.
        banned: logit biases that keep an answer from ending.
    """

    name: str
    port: int
    model: str
    banned: Mapping[str, float]

    def ask(self, question: Question) -> Answer:
        """One answer, whole.

        Raises:
            CompareFailed: it is an error, or not as long as was asked for.
        """
        try:
            return self._ask(question)
        except (OSError, HTTPException) as error:
            raise CompareFailed(f"{self.name} hung up on a request: {error!r}") from error

    def ask_all(self, questions: Sequence[Question]) -> list[Answer]:
        """All at once, each on a connection of its own."""
        with ThreadPoolExecutor(len(questions)) as pool:
            return list(pool.map(self.ask, questions))

    def _ask(self, question: Question) -> Answer:
        body = json.dumps(self._body(question)).encode()
        headers = {"Content-Type": "application/json"}
        if question.session is not None:
            headers["X-Session-Id"] = question.session
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)) as connection:
            connection.connect()
            answer = Answer(time.perf_counter())
            connection.request("POST", "/v1/chat/completions", body, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise CompareFailed(
                    f"{self.name} answered {response.status}: {_shortened(response.read())}"
                )
            for event in _events(response):
                self._take(answer, event)
            answer.end = time.perf_counter()
        self._check(question, answer)
        return answer

    def _body(self, question: Question) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": question.messages,
            "max_tokens": question.tokens,
            "temperature": question.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return body | {"logit_bias": dict(self.banned)} if question.endless else body

    def _take(self, answer: Answer, event: bytes) -> None:
        now = time.perf_counter()
        chunk = json.loads(event)
        if "choices" not in chunk:
            raise CompareFailed(f"{self.name} ended an answer with {_shortened(event)}")
        for choice in chunk["choices"]:
            if text := choice["delta"].get("content"):
                answer.arrivals.append(now)
                answer.pieces.append(text)
        if chunk.get("usage"):
            answer.usage = chunk["usage"]

    def _check(self, question: Question, answer: Answer) -> None:
        if not answer.usage:
            raise CompareFailed(f"{self.name} sent an answer without its usage")
        if not answer.arrivals:  # a token may be a mark, or a part of a character
            raise AnswerTooShort(f"{self.name} sent an answer without text")
        count = answer.completion_tokens
        if count > question.tokens or (question.endless and count != question.tokens):
            raise CompareFailed(
                f"{self.name} answered with {count} tokens where {question.tokens} were asked for"
            )


def _events(response: HTTPResponse) -> Iterator[bytes]:
    """The data of each event, up to the one that says it was the last."""
    while line := response.readline():
        if line.startswith(_DATA):
            data = line[len(_DATA) :].strip()
            if data == b"[DONE]":
                return
            yield data
    raise CompareFailed("an answer broke off before its end")


def _shortened(data: bytes) -> str:
    return data.decode("utf-8", "replace")[:300]
