"""Whether seeded answers repeat on this machine, to the last bit, as `python -m scripts.repeats --model toy`.

Every question is first asked where nothing else was or is. Then all are asked again among each other's
remains, in random order beside others, and after a restart: text and log probabilities have to be the same.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import EdgeError
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SEEDED = (
    SamplingParams(temperature=0, max_tokens=24, top_logprobs=1, ignore_eos=True),
    SamplingParams(temperature=1, seed=7, max_tokens=24, top_logprobs=1, ignore_eos=True),
)
_DRAWN = SamplingParams(temperature=1, max_tokens=16, ignore_eos=True)
_BOOK = "The harbour master writes the arrival of every ship into a large book. "
# Of many lengths, below and above what any kernel takes at once; some begin alike.
_QUESTIONS = (
    *(f"Hello {count}. {_BOOK * count}Who writes?" for count in (0, 1, 2, 3, 5, 8, 13, 20, 30)),
    *(_BOOK * 30 + question for question in ("Why?", "What is it?", "Where does he write?")),
)
JOBS = tuple((question, sampling) for question in _QUESTIONS for sampling in _SEEDED)

_OTHERS = 12  # more than there are slots

Answer = tuple[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Repeated:
    """How many of the jobs were answered otherwise than alone, by the way in which they were asked."""

    way: str
    different: int
    jobs: int


def repeats(model: str, config: EngineConfig) -> Iterator[Repeated]:
    """Ask in every way, one after the other.

    Args:
        config: of several slots; its prompt cache is another for the time.
    """
    # What is computed as if others were there needs their slots.
    slots = 1 if config.at_once == 1 else config.max_sequences
    with LLM.load(model, replace(config, max_sequences=slots, prompt_memory=0)) as llm:
        alone = []
        for job in JOBS:
            _leave_nothing(llm)
            alone.append(_ask(llm, *job))
    with TemporaryDirectory() as folder:
        kept = replace(config, prompt_cache=Path(folder) / "prompts")
        with LLM.load(model, kept) as llm:
            yield _compared("one after the other", alone, (_ask(llm, *job) for job in JOBS))
            yield _compared("beside others", alone, _beside_others(llm))
        with LLM.load(model, kept) as llm:
            yield _compared("after a restart", alone, (_ask(llm, *job) for job in JOBS))


def _leave_nothing(llm: LLM) -> None:
    """Have every slot hold something that no job begins with."""
    others = [f"{number} what else is there to ask?" for number in range(llm.max_sequences)]
    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(lambda text: llm.chat(text, sampling=_DRAWN), others))


def _beside_others(llm: LLM) -> list[Answer]:
    order = Random(1).sample(range(len(JOBS)), len(JOBS))  # noqa: S311 - not for secrets
    with ThreadPoolExecutor(_OTHERS) as pool:
        others = [pool.submit(llm.chat, text, sampling=_DRAWN) for text in _QUESTIONS]
        asked = {at: pool.submit(_ask, llm, *JOBS[at]) for at in order}
        for other in others:
            other.result()
    return [asked[at].result() for at in range(len(JOBS))]


def _ask(llm: LLM, question: str, sampling: SamplingParams) -> Answer:
    response = llm.chat(question, sampling=sampling)
    return response.text, tuple(token.logprob for token in response.logprobs)


def _compared(way: str, alone: list[Answer], answers: Iterable[Answer]) -> Repeated:
    pairs = zip(alone, answers, strict=True)
    return Repeated(way, sum(one != other for one, other in pairs), len(alone))


def main() -> None:
    """Print a line for each way; the exit code is 1 if any answer was another one."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.repeats",
        description="Whether seeded answers repeat on this machine, to the last bit.",
    )
    parser.add_argument("--model", default="toy")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--gpu-layers", type=int)
    parser.add_argument("--flash-attention", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--repack", choices=("auto", "on", "off"), default="auto")
    asked = parser.parse_args()
    different = 0
    try:
        config = EngineConfig(
            context_length=2048,
            max_sequences=asked.slots,
            at_once=asked.at_once,
            threads=asked.threads,
            gpu_layers=asked.gpu_layers,
            flash_attention=asked.flash_attention,
            repack=asked.repack,
            vision=False,
        )
        for found in repeats(asked.model, config):
            sys.stdout.write(f"{found.way:<20} {found.different} of {found.jobs} differ\n")
            sys.stdout.flush()
            different += found.different
    except EdgeError as error:
        sys.exit(f"error: {error}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
