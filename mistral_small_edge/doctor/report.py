"""What an examination comes to: sections of facts, and findings among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Level = Literal["ok", "note", "warning"]
UNREADABLE = "not readable here"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is so; both texts are one line."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that somebody should know.

    Attributes:
        level: ok is as it should be, note is worth knowing, warning costs something.
        text: a sentence without advice.
        advice: what to do, best something to type; empty if nothing is to be done.
        fatal: with this, it will not work.
    """

    level: Level
    text: str
    advice: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """What one probe has seen; `name` is one word, the same in every report."""

    name: str
    facts: tuple[Fact, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All sections, in the order to be read."""

    sections: tuple[Section, ...]

    @property
    def works(self) -> bool:
        """Whether nothing was found that keeps the program from working."""
        return not any(finding.fatal for finding in self.findings)

    @property
    def findings(self) -> Iterator[Finding]:
        """Of all sections."""
        for section in self.sections:
            yield from section.findings

    def mapped(self, change: Callable[[str], str]) -> Report:
        """The same report with every text changed."""
        return Report(tuple(_mapped(section, change) for section in self.sections))


def _mapped(section: Section, change: Callable[[str], str]) -> Section:
    return Section(
        section.name,
        tuple(Fact(change(fact.name), change(fact.value)) for fact in section.facts),
        tuple(
            replace(finding, text=change(finding.text), advice=change(finding.advice))
            for finding in section.findings
        ),
    )
