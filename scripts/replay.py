"""What guessing ahead is worth, as `python -m scripts.replay --model FILE`.

Answers that people would get are computed once with guesses and once without, in pairs: edits of
code, JSON out of a letter, a summary that quotes, free prose. The tokens are given, all else is real work, so a file of random weights tells as much as the true one.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from mistral_small_edge.chat.deltas import collect
from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.beside import answers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.chat.deltas import ChatResponse


@dataclass(frozen=True, slots=True)
class Pair:
    """The same answer both ways: tokens a second, and what was guessed."""

    tokens: int
    plain_rate: float
    rate: float
    drafted: int
    accepted: int


def main() -> None:
    """Measure what the command line asks for."""
    asked = _options()
    config = EngineConfig(context_length=4096, threads=asked.threads, repack=asked.repack)
    report: dict[str, list[Pair]] = {}
    with LLM.load(asked.model, config) as llm:
        for number in range(asked.rounds):
            for recorded in answers.all_of(number):
                if asked.only and recorded.kind not in asked.only:
                    continue
                pair = _pair(llm, recorded, first_plain=bool(number % 2))
                report.setdefault(recorded.kind, []).append(pair)
        costs = llm.calibration.costs.known
    widths = ", ".join(f"{rows}: {cost:.2f}" for rows, cost in costs)
    lines = [f"{asked.model}; a batch of rows takes, in steps of one: {widths}"]
    lines += [_line(kind, pairs) for kind, pairs in report.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    if asked.json:
        with Path(asked.json).open("w", encoding="utf-8") as file:
            json.dump(
                {kind: [_as_json(pair) for pair in pairs] for kind, pairs in report.items()}, file
            )


def _pair(llm: LLM, recorded: answers.Recorded, *, first_plain: bool) -> Pair:
    both: dict[bool, ChatResponse] = {}
    for speculate in (not first_plain, first_plain):
        request = ChatRequest((Message("user", recorded.prompt),), SamplingParams(seed=1))
        with llm.replay(request, recorded.answer, speculate=speculate) as stream:
            both[speculate] = collect(stream)
    guessed, plain = both[True], both[False]
    return Pair(
        plain.usage.completion_tokens,
        _rate(plain),
        _rate(guessed),
        guessed.usage.drafted_tokens,
        guessed.usage.accepted_tokens,
    )


def _rate(answer: ChatResponse) -> float:
    return (answer.usage.completion_tokens - 1) / answer.timings.decode_seconds


def _line(kind: str, pairs: Sequence[Pair]) -> str:
    ratios = sorted(pair.rate / pair.plain_rate for pair in pairs)
    drafted, accepted = sum(p.drafted for p in pairs), sum(p.accepted for p in pairs)
    return (
        f"{kind:12} {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) of "
        f"{median(pair.plain_rate for pair in pairs):.1f} tok/s; {pairs[0].tokens} tokens, "
        f"{accepted} of {drafted} guessed right"
    )


def _as_json(pair: Pair) -> dict[str, float]:
    return {
        "tokens": pair.tokens,
        "plain_tokens_per_second": pair.plain_rate,
        "tokens_per_second": pair.rate,
        "drafted_tokens": pair.drafted,
        "accepted_tokens": pair.accepted,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts.replay", description=__doc__)
    parser.add_argument("--model", default="demo", help="a name or a .gguf (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of each kind (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=answers.KINDS, help="these kinds (all)")
    parser.add_argument("--threads", type=int, help="compute threads (the machine's fast cores)")
    parser.add_argument(
        "--repack", choices=("auto", "on", "off"), default="auto", help="weights laid out anew"
    )
    parser.add_argument("--json", metavar="FILE", help="write every pair there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
