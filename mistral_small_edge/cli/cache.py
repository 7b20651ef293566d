"""`cache`: what was kept so that it need not be computed again, and getting rid of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge import places
from mistral_small_edge.cli import console, failures, options
from mistral_small_edge.cli.answer import printable
from mistral_small_edge.errors import InvalidRequest, readable_size
from mistral_small_edge.file_cache import IMAGES, PROMPTS, FileCache, Kept, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

cache = typer.Typer(
    help="What was kept so that it need not be computed again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

PromptCache = Annotated[
    Path | None, options.prompt_cache(options.USUAL_CACHE, "Where prompts are kept.")
]
ImageCache = Annotated[
    Path | None, options.image_cache(options.USUAL_CACHE, "Where what pictures look like is kept.")
]


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What is kept of one kind, and where; `kind` is None of tensors, which are ggml's own files."""

    name: str
    folder: Path
    kind: Kind | None

    def files(self) -> list[Kept]:
        """The longest unused first."""
        if self.kind is not None:
            return FileCache(self.folder, self.kind).files()
        from mistral_small_edge.lending import kept_in

        found = sorted(kept_in(self.folder), key=lambda one: one.used)
        return [Kept(one.path, None, one.size, one.used / 1e9) for one in found]

    def clear(self) -> int:
        """Remove every file; the bytes of those that let themselves be removed."""
        if self.kind is not None:
            return FileCache(self.folder, self.kind).clear()
        freed = 0
        for kept in self.files():
            with suppress(OSError):
                kept.path.unlink()
                freed += kept.size
        return freed


@cache.command("list")
def list_files(
    prompt_cache: PromptCache = None,
    image_cache: ImageCache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead.")] = False,
) -> None:
    """Prompts that were read and pictures that were looked at, the longest unused first.

    On a worker, tensors that were sent, too: in numbers, and each of them in JSON. Names models, numbers and dates; what was said is not shown.
    """
    shelves = _shelves(prompt_cache, image_cache)
    found = [(shelf, shelf.files()) for shelf in shelves]
    if as_json:
        console.write_json([_object(shelf.name, kept) for shelf, files in found for kept in files])
        return
    rows = [_row(shelf.name, kept) for shelf, files in found if shelf.kind for kept in files]
    if rows:
        console.write_table(("kept", "model", "tokens", "size", "last used"), rows)
    for shelf, files in found:
        if shelf.kind is not None:
            most = readable_size(shelf.kind.max_bytes)
            console.note(f"{shelf.name}s: {_size(files)} of at most {most} in {shelf.folder}")
        elif files:
            console.note(f"{shelf.name}s: {_size(files)} in {shelf.folder}")


@cache.command()
def clear(
    prompts: Annotated[bool, typer.Option("--prompts", help="Only prompts.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Only pictures.")] = False,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="Only what was sent to a worker.")
    ] = False,
    prompt_cache: PromptCache = None,
    image_cache: ImageCache = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing; say what would be.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete what was kept; it is computed, or sent, again when it is needed.

    Exit code 1 if something could not be deleted.
    """
    wanted = {"prompt": prompts, "picture": images, "tensor": tensors}
    shelves = [
        shelf
        for shelf in _shelves(prompt_cache, image_cache)
        if wanted[shelf.name] or not any(wanted.values())
    ]
    files = [kept for shelf in shelves for kept in shelf.files()]
    if not files:
        console.note("nothing is kept: nothing to delete")
        return
    if dry_run:
        console.note(f"{_size(files)} would be deleted")
        return
    if not yes:
        if not console.can_ask():
            raise InvalidRequest("nobody can be asked here: confirm with --yes", "--yes")
        typer.confirm(f"Delete {_size(files)}?", abort=True, err=True)
    freed = sum(shelf.clear() for shelf in shelves)
    console.note(f"{readable_size(freed)} freed")
    left = [kept for shelf in shelves for kept in shelf.files()]
    if left:
        console.failure(f"{_size(left)} could not be deleted", f"See {left[0].path.parent}")
        raise typer.Exit(failures.FAILED)


def _shelves(prompt_cache: Path | None, image_cache: Path | None) -> list[_Shelf]:
    chosen: list[tuple[str, Path | None, Callable[[], Path], Kind | None]] = [
        ("prompt", prompt_cache, places.prompts, PROMPTS),
        ("picture", image_cache, places.images, IMAGES),
        ("tensor", None, places.tensors, None),
    ]
    return [
        _Shelf(name, folder, kind)
        for name, named, usual, kind in chosen
        if (folder := options.folder(named, usual)) is not None
    ]


def _size(files: list[Kept]) -> str:
    total = readable_size(sum(kept.size for kept in files))
    return f"{len(files)} file{'' if len(files) == 1 else 's'}, {total}"


def _row(name: str, kept: Kept) -> tuple[str, ...]:
    label = kept.label
    used = datetime.fromtimestamp(kept.used).astimezone()
    return (
        name,
        printable(label.model) if label and label.model else "?",
        f"{label.tokens:,}" if label else "?",
        readable_size(kept.size),
        f"{used:%Y-%m-%d %H:%M}",
    )


def _object(name: str, kept: Kept) -> dict[str, object]:
    return {
        "kind": name,
        "model": kept.label.model if kept.label else None,
        "tokens": kept.label.tokens if kept.label else None,
        "bytes_on_disk": kept.size,
        "last_used": datetime.fromtimestamp(kept.used, UTC).isoformat(timespec="seconds"),
        "path": str(kept.path),
    }
