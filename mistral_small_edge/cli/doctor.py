"""`doctor`: what there is to know of this machine and this installation, to be pasted into an issue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli import console, failures

if TYPE_CHECKING:
    from mistral_small_edge.doctor import Finding, Report, Section

_MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING"}


def doctor(
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read every model whole, which takes minutes, and compare."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object.")
    ] = False,
) -> None:
    """Examine this machine, this installation and the models on this disk.

    Nothing is changed or sent. Keys, tokens and your name are not in the report: it can be pasted into
    an issue. Exit code 1 if something was found with which it will not work.
    """
    from mistral_small_edge.doctor import Surroundings, examine

    with console.progress("Looking around", "bytes" if verify else "percent") as bar:
        report = examine(
            Surroundings.here(),
            verify=bar.update if verify else None,
            on_step=lambda what: bar.update(0, None, what),
        )
    if as_json:
        console.write_json(report_object(report))
    else:
        console.write(report_text(report))
    if not report.works:
        raise typer.Exit(failures.FAILED)


def report_text(report: Report) -> str:
    """For people: sections of facts, then what was found."""
    parts = [*map(_section, report.sections), "\n".join(_conclusion(report))]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    width = max((len(fact.name) for fact in section.facts), default=0)
    lines = [section.name]
    lines += [f"  {fact.name:<{width}}  {fact.value}" for fact in section.facts]
    return "\n".join(lines)


def _conclusion(report: Report) -> list[str]:
    """All findings at the end, where they are seen; what matters most comes last."""
    found = sorted(report.findings, key=lambda one: list(_MARKS).index(one.level))
    return ["findings", *(line for one in found for line in _finding(one))]


def _finding(finding: Finding) -> list[str]:
    lines = [f"  {_MARKS[finding.level]}  {finding.text}"]
    return [*lines, f"           {finding.advice}"] if finding.advice else lines


def report_object(report: Report) -> dict[str, object]:
    """For programs: the keys are the same in every report of the version."""
    return {
        "version": 1,
        "works": report.works,
        "sections": {
            section.name: {
                "facts": {fact.name: fact.value for fact in section.facts},
                "findings": [_finding_object(finding) for finding in section.findings],
            }
            for section in report.sections
        },
    }


def _finding_object(finding: Finding) -> dict[str, object]:
    return {
        "level": finding.level,
        "text": finding.text,
        "advice": finding.advice,
        "fatal": finding.fatal,
    }
