"""Whether anything grows: thousands of requests of all kinds, as `python -m scripts.soak`.

Four callers ask at once: short questions and long ones, schemas, tools, pictures, seeds, answers
that are given up half-way and requests that are refused. Resident memory is told by and by; after
the first thousand it should stay where it is.
"""

from __future__ import annotations

import argparse
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import psutil

from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextPart
from mistral_small_edge.chat.response_format import Choice, JsonSchema
from mistral_small_edge.chat.tools import Tool
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import RequestError
from mistral_small_edge.images import Image
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams

_CALLERS = 4
_WARM = 1000  # requests until every buffer has been used
_SCHEMA = JsonSchema(
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    }
)
_TOOL = Tool("get_weather", "Weather", {"type": "object", "properties": {}})


def main() -> None:
    """Ask, and say what memory does."""
    parser = argparse.ArgumentParser(prog="scripts.soak", description=__doc__)
    parser.add_argument("--model", default="toy", help="(%(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, help="(%(default)s)")
    asked = parser.parse_args()
    config = EngineConfig(context_length=1024, max_sequences=_CALLERS, threads=1)
    with LLM.load(asked.model, config) as llm, ThreadPoolExecutor(_CALLERS) as callers:
        refused, warm = 0, 0
        for begin in range(0, asked.requests, _WARM):
            numbers = range(begin, min(begin + _WARM, asked.requests))
            refused += sum(callers.map(lambda number: _ask(llm, number), numbers))
            size = psutil.Process().memory_info().rss
            warm = warm or size
            _say(f"{numbers.stop:6} requests, {size / 1e6:.1f} MB, {refused} refused")
        _say(f"grown by {(size - warm) / 1e6:+.1f} MB since the first {_WARM}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _ask(llm: LLM, number: int) -> bool:
    """Ask one question and read its answer, or some of it; whether it was refused."""
    draw = random.Random(number)
    try:
        with llm.stream(_request(llm, number, draw)) as stream:
            for _ in islice(stream, draw.choice((3, 10_000))):
                pass
    except RequestError:
        return True
    return False


def _request(llm: LLM, number: int, draw: random.Random) -> ChatRequest:
    words = " ".join(draw.choices(("red", "ship", "tide", "rope", "Oslo"), k=draw.randrange(200)))
    text = f"Request {number}. {words}"
    params = SamplingParams(
        max_tokens=draw.randrange(1, 40),
        temperature=draw.choice((0.0, 0.15, 1.0)),
        seed=draw.choice((None, number)),
        stop=draw.choice(((), ("e",))),
        logit_bias=draw.choice(({}, {10: 1.0}, {10_000_000: 1.0})),  # the last is refused
    )
    content: str | tuple[ImagePart | TextPart, ...] = text
    if llm.sees and number % 7 == 0:
        content = (ImagePart(_picture(draw)), TextPart(text))
    message = Message("user", content)
    match number % 5:
        case 1:
            return ChatRequest((message,), params, response_format=_SCHEMA)
        case 2:
            return ChatRequest((message,), params, response_format=Choice(("yes", "no")))
        case 3:
            return ChatRequest((message,), params, (_TOOL,))
    return ChatRequest((message,), params)


def _picture(draw: random.Random) -> Image:
    """A grey picture of four cells, one of a thousand."""
    shade = draw.randrange(1000)
    return Image(bytes([shade % 256, shade // 256, 9] * 56 * 56), 56, 56, f"{shade:064x}")


if __name__ == "__main__":
    main()
