"""What is measured: each workload once, against one server, in figures of the client's clock.

Those that are asked find a server up; those that start one bring up their own. Neither knows
whose server it is. Two are there twice, at temperature 0 and sampled: at 0 we promise the same
answer alone and under load, and that has its price.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from scripts.beside import prompts
from scripts.beside.client import Question
from scripts.beside.errors import AnswerTooShort, CompareFailed
from scripts.beside.figures import Figure, Outcome
from scripts.beside.memory import memory_of
from scripts.beside.servers import running

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.beside.client import Answer, Client
    from scripts.beside.servers import Contender, Server

_DECODE = Figure("decode", "tok/s", more_is_better=True)
_FIRST_TOKEN = Figure("first token", "s", more_is_better=False)
_FIRST_TOKENS = Figure("first tokens", "s", more_is_better=False)
_SAMPLED = 0.7  # a temperature at which nobody promises that an answer comes again
_STREAMS = 8
_SHARING = 4
_THOUGHT = 4.0  # seconds until somebody who has read an answer has typed the next question
_SCATTERED = (0, 3, 6)
_SHORTEST = 32  # tokens of an answer that a rate is taken from


@dataclass(frozen=True, slots=True)
class Asked:
    """A workload for a server that is up.

    `guessing`: one whose answers repeat their prompts, of interest with speculation too.
    `once`: more rounds would say the same.
    """

    name: str
    figures: tuple[Figure, ...]
    run: Callable[[Server, int], Outcome]
    guessing: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """A workload that starts servers, and ends them."""

    name: str
    figures: tuple[Figure, ...]
    run: Callable[[Contender, int], Outcome]


def single(server: Server, number: int) -> Outcome:
    """One stream."""
    answer = server.client.ask(prompts.short(number))
    gaps = sorted(answer.gaps)
    late = gaps[math.ceil(0.99 * len(gaps)) - 1]
    return _outcome(
        [answer],
        decode=answer.decode_rate,
        **{"ITL p50": median(gaps) * 1e3, "ITL p99": late * 1e3},
    )


def prefill(server: Server, number: int) -> Outcome:
    """A prompt of about 1,800 tokens that nobody has seen."""
    answer = _read_anew(server.client, prompts.unseen(1000 + number, 1800))
    return _outcome([answer], prefill=answer.prompt_tokens / answer.time_to_first_token)


def parallel(temperature: float) -> Callable[[Server, int], Outcome]:
    """Eight streams at once."""

    def run(server: Server, number: int) -> Outcome:
        answers = server.client.ask_all(prompts.at_once(number, _STREAMS, temperature))
        wall = max(answer.end for answer in answers) - min(answer.sent for answer in answers)
        return _outcome(answers, decode=sum(answer.completion_tokens for answer in answers) / wall)

    return run


def scattered(server: Server, number: int) -> Outcome:
    """Three of eight conversations go on at once; where they lie, others are between them."""
    begun = prompts.at_once(5000 + number, _STREAMS, _SAMPLED)
    told = server.client.ask_all([replace(one, tokens=8) for one in begun])
    answers = server.client.ask_all(
        [prompts.going_on(begun[one], told[one].text) for one in _SCATTERED]
    )
    last = max(answer.arrivals[-1] for answer in answers)
    first = max(answer.arrivals[0] for answer in answers)  # all are being written
    count = sum(when > first for answer in answers for when in answer.arrivals)
    return _outcome(answers, decode=count / (last - first))


def repeated(server: Server, number: int) -> Outcome:
    """A prompt of about 2,000 tokens for the second time."""
    question = prompts.unseen(2000 + number, 2000)
    _read_anew(server.client, question)
    answer = server.client.ask(question)
    return _first_token(answer)


def conversation(temperature: float, pause: float = 0) -> Callable[[Server, int], Outcome]:
    """Six turns, all that was said before sent along each time; who asks thinks for `pause` seconds."""

    def run(server: Server, number: int) -> Outcome:
        messages, turns = prompts.conversation(number)
        answers = []
        for text in turns:
            messages = [*messages, {"role": "user", "content": text}]
            question = Question(messages=messages, tokens=48, temperature=temperature)
            answers.append(server.client.ask(question))
            time.sleep(pause)
            messages = [*messages, {"role": "assistant", "content": answers[-1].text}]
        seconds = sum(answer.time_to_first_token for answer in answers)
        return _outcome(answers, **{"first tokens": seconds})

    return run


def shared(server: Server, number: int) -> Outcome:
    """Four questions at once behind one text of about 1,500 tokens."""
    answers = server.client.ask_all(prompts.behind_one_text(3000 + number, 1500, _SHARING))
    first = max(answer.arrivals[0] for answer in answers)
    seconds = first - min(answer.sent for answer in answers)
    return _outcome(answers, **{"all first tokens": seconds})


def repeating(question: Callable[[int], Question]) -> Callable[[Server, int], Outcome]:
    """An answer that has much, or nothing, of its prompt in it."""

    def run(server: Server, number: int) -> Outcome:
        answer = server.client.ask(question(number))
        if answer.completion_tokens < _SHORTEST:
            raise AnswerTooShort(
                f"{server.client.name} ended after {answer.completion_tokens} tokens, too few for a "
                f"rate: {answer.text!r}"
            )
        return _outcome([answer], decode=answer.decode_rate)

    return run


def memory(server: Server, number: int) -> Outcome:  # noqa: ARG001 - it has one round
    """What the process has taken."""
    taken = memory_of(server.pid)
    return Outcome(values={"peak": taken.peak / 1e6, "beyond the file": taken.beyond_files / 1e6})


def restart(contender: Contender, number: int) -> Outcome:
    """A prompt of about 2,000 tokens that was read before the server was stopped and started."""
    question = prompts.unseen(4000 + number, 2000)
    with tempfile.TemporaryDirectory() as directory:
        with running(contender, Path(directory)) as server:
            _read_anew(server.client, question)
        with running(contender, Path(directory)) as server:
            return _first_token(server.client.ask(question))


def cold(contender: Contender, number: int) -> Outcome:
    """From the start of the process to the first token."""
    with running(contender) as server:
        ready = time.perf_counter() - server.started
        answer = server.client.ask(prompts.greeting(number))
        first = answer.arrivals[0] - server.started
    return _outcome([answer], ready=ready, **{"first token": first})


WORKLOADS: tuple[Asked | Started, ...] = (
    Asked(
        "single",
        (
            _DECODE,
            Figure("ITL p50", "ms", more_is_better=False),
            Figure("ITL p99", "ms", more_is_better=False),
        ),
        single,
    ),
    Asked("prefill", (Figure("prefill", "tok/s", more_is_better=True),), prefill),
    Asked("parallel", (_DECODE,), parallel(0.0)),
    Asked("parallel-sampled", (_DECODE,), parallel(_SAMPLED)),
    Asked("scattered-sampled", (_DECODE,), scattered),
    Asked("repeated", (_FIRST_TOKEN,), repeated),
    Asked("conversation", (_FIRST_TOKENS,), conversation(0.0)),
    Asked("conversation-paused", (_FIRST_TOKENS,), conversation(0.0, _THOUGHT)),
    Asked("conversation-sampled", (_FIRST_TOKENS,), conversation(_SAMPLED)),
    Asked("shared", (Figure("all first tokens", "s", more_is_better=False),), shared),
    Asked("copying", (_DECODE,), repeating(prompts.copying), guessing=True),
    Asked("extraction", (_DECODE,), repeating(prompts.extraction), guessing=True),
    Asked("editing", (_DECODE,), repeating(prompts.editing), guessing=True),
    Asked("prose", (_DECODE,), repeating(prompts.prose), guessing=True),
    Asked(
        "memory",
        (
            Figure("peak", "MB", more_is_better=False),
            Figure("beyond the file", "MB", more_is_better=False),
        ),
        memory,
        once=True,
    ),
    Started("restart", (_FIRST_TOKEN,), restart),
    Started("cold", (_FIRST_TOKEN, Figure("ready", "s", more_is_better=False)), cold),
)


def _read_anew(client: Client, question: Question) -> Answer:
    """An answer to a prompt that must not have been seen before."""
    answer = client.ask(question)
    if answer.cached_tokens > answer.prompt_tokens // 10:
        raise CompareFailed(
            f"{client.name} had read {answer.cached_tokens} of {answer.prompt_tokens} tokens of a "
            "prompt that was to be new to it"
        )
    return answer


def _first_token(answer: Answer) -> Outcome:
    return _outcome([answer], **{"first token": answer.time_to_first_token})


def _outcome(answers: Sequence[Answer], **values: float) -> Outcome:
    return Outcome(
        values=values,
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        cached_tokens=sum(answer.cached_tokens for answer in answers),
        completion_tokens=sum(answer.completion_tokens for answer in answers),
    )
