"""What is kept here: models, whether they are sound, what was found out, and in which folders."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from mistral_small_edge.doctor.report import Fact, Finding, Section
from mistral_small_edge.errors import ChecksumMismatch, ModelLoadFailed, readable_size
from mistral_small_edge.gguf import is_projector, read_header, read_projector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mistral_small_edge.store.cache import Stored
    from mistral_small_edge.store.checksums import Checksums
    from mistral_small_edge.store.source import ModelFile

UNCHECKED = "sha256 not checked"


def models(
    stored: Sequence[Stored], checksums: Checksums, verify: Callable[[int, int], None] | None
) -> Section:
    """Every model that is here, whole or begun.

    Args:
        verify: told of bytes that are read and of all; None believes what was found before.
    """
    here = [each for each in stored if each.file is not None or each.fetched]
    total = sum(each.file.size for each in here if each.file is not None)
    facts, findings, before = [], [], 0
    for each in here:
        name = each.source.name
        if each.file is None:
            facts.append(Fact(name, f"{readable_size(each.fetched)} of it"))
            findings.append(
                Finding("note", f"{name} is not whole", f"mistral-small-edge download {name}")
            )
            continue
        advance = None if verify is None else _shifted(verify, before, total)
        state, found = _state(each, each.file, checksums, advance)
        facts.append(Fact(name, f"{readable_size(each.file.size)}, {state}"))
        findings += found
        before += each.file.size
    if unchecked := sum(fact.value.endswith(UNCHECKED) for fact in facts):
        text = (
            f"{unchecked} of {len(here)} files were not compared with the sha256 that was published"
        )
        findings.append(Finding("note", text, "mistral-small-edge doctor --verify"))
    if not any(fact.name.startswith("mistral-small") for fact in facts):
        text = "no Mistral Small is on this disk"
        findings.append(Finding("note", text, "mistral-small-edge plan, then download"))
    return Section("models", tuple(facts), tuple(findings))


def remembered(findings: Sequence[tuple[str, object]]) -> Section:
    """What was found out about this machine: of each kind how often, and the last one."""
    counts: dict[str, int] = {}
    latest: dict[str, object] = {}
    for kind, value in findings:
        counts[kind] = counts.get(kind, 0) + 1
        latest[kind] = value
    facts = [
        Fact(kind or "of an earlier version", f"{count}, the last one {json.dumps(latest[kind])}")
        for kind, count in sorted(counts.items())
    ]
    return Section("remembered", tuple(facts) or (Fact("findings", "none yet"),))


def folders(places: Mapping[str, Path | None]) -> Section:
    """Where things are, and what they take."""
    facts = []
    for name, place in places.items():
        if place is None:
            facts.append(Fact(name, "nowhere: there is no home"))
        elif not place.is_dir():
            facts.append(Fact(name, f"{place}, not there yet"))
        else:
            facts.append(Fact(name, f"{place}, {readable_size(_size(place))}"))
    return Section("folders", tuple(facts))


def _state(
    stored: Stored, file: ModelFile, checksums: Checksums, advance: Callable[[int], None] | None
) -> tuple[str, list[Finding]]:
    name = stored.source.name
    try:
        _read(file.path)
    except ModelLoadFailed as error:
        again = f"mistral-small-edge models verify {name}"
        return "cannot be loaded", [Finding("warning", f"{name}: {error.reason}", again)]
    wanted = [stored.source.sha256 or checksums.expected(part) for part in file.parts]
    if None in wanted:
        return "header sound, nobody published a sha256", []
    if [*map(checksums.verified, file.parts)] == wanted:
        return "sha256 as published, unchanged since it was checked", []
    if advance is None:
        return UNCHECKED, []
    try:
        _check(file, [str(sha256) for sha256 in wanted], checksums, advance)
    except ChecksumMismatch:
        again = f"mistral-small-edge models verify {name}"
        found = Finding("warning", f"{name} is damaged: its sha256 is another", again, fatal=True)
        return "damaged", [found]
    return "sha256 as published, checked now", []


def _check(
    file: ModelFile, wanted: list[str], checksums: Checksums, advance: Callable[[int], None]
) -> None:
    before = 0
    for part, sha256 in zip(file.parts, wanted, strict=True):
        checksums.check(part, sha256, lambda done, before=before: advance(before + done))  # type: ignore[misc]
        before += part.stat().st_size


def _read(path: Path) -> None:
    """The header of what may be a model or a projector.

    Raises:
        ModelLoadFailed: it is damaged.
    """
    (read_projector if is_projector(path) else read_header)(path)


def _shifted(verify: Callable[[int, int], None], before: int, total: int) -> Callable[[int], None]:
    return lambda done: verify(before + done, total)


def _size(folder: Path) -> int:
    """Bytes of all files below, links not followed."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_size  # noqa: PTH118 - many
            except OSError:  # gone meanwhile
                continue
    return total
