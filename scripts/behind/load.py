"""What clients ask of servers behind a proxy, and what comes of it: figures of the client's clock."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from scripts.behind.fates import fate_of
from scripts.beside import prompts
from scripts.beside.client import Question
from scripts.beside.errors import CompareFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.beside.client import Answer, Client
    from scripts.beside.servers import Server

_RUNNING = b"\nmistral_small_edge_answers_running "
_KILLED_ANSWER = 200  # tokens
_PATIENCE = 60.0  # seconds until a server has something to do
_POLL = 0.01  # seconds


@dataclass(frozen=True, slots=True)
class Talks:
    """Conversations that are held at the same time, each turn with all that was said before.

    Attributes:
        count: of conversations.
        turns: of each, 6 at most.
        tokens: of each answer.
    """

    count: int
    turns: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Held:
    """What came of them, in tokens and seconds."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens written a second, by all servers together."""
        return self.completion_tokens / self.seconds

    @property
    def hits(self) -> float:
        """The part of the prompts that was not read again."""
        return self.cached_tokens / self.prompt_tokens


def hold(client: Client, talks: Talks, first: int, *, keyed: bool) -> Held:
    """Hold conversations that begin like no other of another `first`.

    Args:
        first: the number of the first one; as many follow as there are.
        keyed: whether each tells by a header which one it is.

    Raises:
        CompareFailed: an answer is an error, or not whole.
    """
    with ThreadPoolExecutor(talks.count) as pool:
        began = time.perf_counter()
        numbers = range(first, first + talks.count)
        held = list(pool.map(partial(_talk, client, talks, keyed), numbers))
        seconds = time.perf_counter() - began
    answers = [answer for talk in held for answer in talk]
    return Held(
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        cached_tokens=sum(answer.cached_tokens for answer in answers),
        completion_tokens=sum(answer.completion_tokens for answer in answers),
        seconds=seconds,
    )


def _talk(client: Client, talks: Talks, keyed: bool, number: int) -> list[Answer]:
    messages, texts = prompts.conversation(number)
    answers = []
    for text in texts[: talks.turns]:
        messages.append({"role": "user", "content": text})
        question = Question(messages=messages, tokens=talks.tokens)
        if keyed:
            question = replace(question, session=f"conversation {number}")
        answers.append(client.ask(question))
        messages.append({"role": "assistant", "content": answers[-1].text})
    return answers


def kill_one(proxy: Client, servers: Sequence[Server], requests: int) -> dict[str, int]:
    """Send requests at once, every other one streamed, and kill a server as soon as it computes one.

    Returns:
        How many met which fate; for streams and for whole answers.

    Raises:
        CompareFailed: none of the servers had anything to do.
    """

    def fate(number: int) -> str:
        stream = number % 2 == 0
        body = {
            "model": proxy.model,
            "messages": [{"role": "user", "content": f"Request {number}: tell a long story."}],
            "max_tokens": _KILLED_ANSWER,
            "logit_bias": dict(proxy.banned),
            "stream": stream,
        }
        found = fate_of(proxy.port, body, f"request {number}")
        return f"{'streams' if stream else 'whole answers'} {found}"

    with ThreadPoolExecutor(requests) as pool:
        fates = pool.map(fate, range(requests))
        os.kill(_busy(servers).pid, signal.SIGKILL)
        return dict(Counter(fates))


def _busy(servers: Sequence[Server]) -> Server:
    deadline = time.perf_counter() + _PATIENCE
    while time.perf_counter() < deadline:
        for server in servers:
            if _running(server.client.port):
                return server
        time.sleep(_POLL)
    raise CompareFailed("no server has anything to do")


def _running(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read()
    return float(text.partition(_RUNNING)[2].split(b"\n")[0]) > 0
