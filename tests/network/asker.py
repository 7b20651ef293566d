"""Asks a model that is shared with workers: `python -m tests.network.asker MODEL WORKERS`.

What runs on a host of its own: one word a line on stdin says what to do, a line of JSON on stdout what
came of it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import EdgeError, WorkerError
from mistral_small_edge.llm import LLM, Stream
from mistral_small_edge.sampling_params import SamplingParams

# Guesses would depend on what the machine was found to be worth at the time.
ALONE = EngineConfig(
    context_length=512, threads=1, max_sequences=2, repack="off", speculation="off"
)
HELLO = (Message("user", "Hello"),)
SEEDED = ChatRequest(HELLO, SamplingParams(seed=7, max_tokens=12, top_logprobs=3))
LONG = ChatRequest(HELLO, SamplingParams(temperature=0, max_tokens=400, ignore_eos=True))
ANSWERS = 4  # at once; two of them wait
_BETWEEN = 0.05  # seconds between looks whether the model is back


def main() -> None:
    """Do what is said until nobody says anything any more."""
    model, *workers = sys.argv[1:]
    config = replace(ALONE, workers=tuple(workers))
    with ExitStack() as held:
        llm: LLM | None = None
        for line in sys.stdin:
            try:
                if llm is None:
                    llm = held.enter_context(LLM.load(model, config, on_progress=_reading))
                    _tell(loaded=[share.layers for share in llm.workers])
                else:
                    DEEDS[line.strip()](llm)
            except EdgeError as error:
                _tell(error=_named(error))


def answer_of(llm: LLM) -> list[str]:
    """An answer, to be compared with another's."""
    answer = llm.answer(SEEDED)
    return [answer.text, repr(answer.logprobs)]


def _answer(llm: LLM) -> None:
    _tell(answer=answer_of(llm))


def _lose(llm: LLM) -> None:
    """Begin answers, and tell what ends them."""
    streams = [llm.stream(LONG) for _ in range(ANSWERS)]
    for stream in streams[: llm.max_sequences]:
        next(stream)
    _tell(begun=ANSWERS)
    begun = time.monotonic()
    with ThreadPoolExecutor(ANSWERS) as pool:
        ends = list(pool.map(_end_of, streams))
    _tell(told={"ends": ends, "seconds": time.monotonic() - begun})


def _miss(llm: LLM) -> None:
    """Wait until it is noticed, unasked, that the model is gone."""
    tick = threading.Event()
    while (why := llm.interruption) is None:
        tick.wait(_BETWEEN)
    _tell(missed=_named(why))


def _return(llm: LLM) -> None:
    """Wait until it is back."""
    tick = threading.Event()
    while llm.interruption is not None:
        tick.wait(_BETWEEN)
    _tell(back=True)


def _end_of(stream: Stream) -> list[str] | None:
    try:
        for _ in stream:
            pass
    except EdgeError as error:
        return _named(error)
    return None


def _named(error: EdgeError) -> list[str]:
    worker = error.worker if isinstance(error, WorkerError) else str(error)
    return [type(error).__name__, worker]


def _reading(done: float) -> None:
    _tell(reading=done)


def _tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


DEEDS = {"answer": _answer, "lose": _lose, "miss": _miss, "return": _return}

if __name__ == "__main__":
    main()
