"""What a good model would answer to our own texts, written down: for computing without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.beside import prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("editing", "extraction", "summary", "prose")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A question and its answer."""

    kind: str
    prompt: str
    answer: str


def all_of(number: int) -> Iterator[Recorded]:
    """One of each kind, with the names and numbers of that round."""
    code = prompts.filled("ledger.txt", number)
    renamed = code.replace("is_late", "is_overdue")
    yield _recorded("editing", prompts.editing, number, f"```python\n{renamed}```")
    found = prompts.filled("orders_answer.json", number)
    yield _recorded("extraction", prompts.extraction, number, found)
    story = " ".join(prompts.filled("harbour.txt", number).splitlines())
    asked = f"Report:\n{story}\n\nSummarize the report and quote from it."
    yield Recorded("summary", asked, prompts.filled("summary.txt", number))
    yield _recorded("prose", prompts.prose, number, prompts.filled("story.txt", number))


def _recorded(
    kind: str, ask: Callable[[int], prompts.Question], number: int, answer: str
) -> Recorded:
    messages = ask(number).messages
    return Recorded(kind, "\n\n".join(message["content"] for message in messages), answer)
