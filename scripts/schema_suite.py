"""Holds a model to every schema of the JSON Schema Test Suite (draft 2020-12) that can be enforced.

    python -m scripts.schema_suite --model demo --samples 3

Each answer that ends by itself is judged by the `jsonschema` package. Prints how many schemas and
answers there were, what was refused and for which keyword, and what did not conform; exits with 1
if anything did not.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from mistral_small_edge import LLM, ChatRequest, EngineConfig, JsonSchema, Message, SamplingParams
from mistral_small_edge.errors import InvalidGrammar

if TYPE_CHECKING:
    from collections.abc import Iterator

ARCHIVES = Path(__file__).parent.parent / ".venv" / "schemas"
_WHERE = re.compile(r".*/json/tests/draft2020-12/([^/]+)\.json")
_KEYWORDS = re.compile(r"Unimplemented keys: (\[.*\])")


@dataclass(frozen=True, slots=True)
class Case:
    """A schema of the suite; `name` says what it tests."""

    name: str
    schema: Any


@dataclass(slots=True)
class Report:
    """What came of the suite."""

    schemas: int = 0
    answers: int = 0
    unfinished: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def keywords(self) -> Counter[str]:
        """How many schemas were refused for each keyword."""
        named = (found for reason in self.refused.values() if (found := _KEYWORDS.search(reason)))
        return Counter(keyword for found in named for keyword in json.loads(found[1]))


def cases(archives: Path = ARCHIVES) -> Iterator[Case]:
    """Every schema of the suite.

    Raises:
        FileNotFoundError: scripts/setup has not fetched it.
    """
    archive = next(iter(archives.glob("jsonschema-*.tar.gz")), None)
    if archive is None:
        raise FileNotFoundError(f"{archives} is empty: run scripts/setup dev")
    with tarfile.open(archive) as members:
        for member in members:
            found = _WHERE.fullmatch(member.name)
            content = members.extractfile(member) if found else None
            if found and content:
                for group in json.load(content):
                    yield Case(f"{found[1]}: {group['description']}", group["schema"])


def run(llm: LLM, suite: list[Case], samples: int, max_tokens: int) -> Report:
    """Answer every schema `samples` times, at temperature 1 with seeds of their own."""
    report = Report()
    with ThreadPoolExecutor(8) as pool:  # the engine computes as many together as it has slots
        outcomes = pool.map(partial(_answers, llm, samples, max_tokens), suite)
        for case, outcome in zip(suite, outcomes, strict=True):
            if isinstance(outcome, InvalidGrammar):
                report.refused[case.name] = str(outcome)
                continue
            report.schemas += 1
            for text in outcome:
                if text is None:
                    report.unfinished += 1
                else:
                    report.answers += 1
                    if not _conforms(text, case.schema):
                        report.wrong.append(f"{case.name}: {text}")
    return report


def _answers(
    llm: LLM, samples: int, max_tokens: int, case: Case
) -> list[str | None] | InvalidGrammar:
    texts: list[str | None] = []
    question = Message("user", f"Write JSON for this schema: {json.dumps(case.schema)}")
    for seed in range(samples):
        sampling = SamplingParams(temperature=1, seed=seed, max_tokens=max_tokens)
        request = ChatRequest((question,), sampling, response_format=JsonSchema(case.schema))
        try:
            response = llm.answer(request)
        except InvalidGrammar as error:
            return error
        texts.append(response.text if response.finish_reason == "stop" else None)
    return texts


def _conforms(text: str, schema: Any) -> bool:
    exact = partial(json.loads, parse_float=_number)
    try:
        return Draft202012Validator(exact(json.dumps(schema))).is_valid(exact(text))
    except ValueError:
        return False


def _number(text: str) -> Fraction | float:
    """Exact, as 0.3 is a multiple of 0.1 and no float knows it; a float where exact has no end."""
    rounded = float(text)
    return Fraction(text) if 1e-300 < abs(rounded) < 1e300 else rounded


def main() -> int:
    """Run the suite as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m scripts.schema_suite")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--samples", type=int, default=3, help="answers for each schema")
    parser.add_argument("--max-tokens", type=int, default=200, help="of each answer")
    parser.add_argument("--threads", type=int, help="compute threads")
    given = parser.parse_args()
    config = EngineConfig(context_length=2048, max_sequences=4, threads=given.threads)
    with LLM.load(given.model, config) as llm:
        report = run(llm, list(cases()), given.samples, given.max_tokens)
    lines = [
        f"{report.schemas} schemas held, {len(report.refused)} refused",
        f"{report.answers} answers ended by themselves, {report.unfinished} were cut",
        *(f"refused for {keyword}: {count}" for keyword, count in report.keywords.most_common()),
        *(f"does not conform: {one}" for one in report.wrong),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
