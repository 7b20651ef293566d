"""Pictures named in a terminal: opened before a model is, with a word on what each will cost."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.cli import console, stdin
from mistral_small_edge.cli.answer import printable
from mistral_small_edge.config import DEFAULT_CONTEXT_LENGTH
from mistral_small_edge.errors import InvalidRequest, readable_size
from mistral_small_edge.images.geometry import auto_budget

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mistral_small_edge.images import Detail, Image
    from mistral_small_edge.images.decode import Opened

FROM_STDIN = "-"
_LARGE = 1000  # tokens of a picture that takes minutes on a small machine
_ESCAPE = re.compile(r"\\(.)")
_OPTION = "--image"


@dataclass(frozen=True, slots=True)
class Looks:
    """How pictures are to be looked at.

    `context_length` None means the default one; `vision_bytes` are what the loaded model was
    planned to take for looking.
    """

    detail: Detail = "auto"
    as_stored: bool = False
    context_length: int | None = None
    vision_bytes: int = 0

    def open(self, sources: Iterable[str]) -> tuple[Shown, ...]:
        """The pictures in some files, with a note on each; `-` is stdin.

        Raises:
            UnsupportedImage: one cannot be had or looked at.
        """
        shown = tuple(self._open(source) for source in sources)
        for one in shown:
            console.note(printable(one.said))
        tell_memory(shown, self.vision_bytes)
        return shown

    def _open(self, source: str) -> Shown:
        from mistral_small_edge.images.decode import open_image

        piped = source == FROM_STDIN
        name = "stdin" if piped else Path(source).name
        context = self.context_length or DEFAULT_CONTEXT_LENGTH
        opened = open_image(
            stdin.read_bytes() if piped else Path(source).expanduser(),
            name=name,
            detail=self.detail,
            most_tokens=auto_budget(self.detail, context),
            as_stored=self.as_stored,
            param=_OPTION,
        )
        return Shown(name, opened.image, _described(name, opened))


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture by its file's name, and lines for the person about it."""

    name: str
    image: Image
    said: str


def tell_memory(shown: Sequence[Shown], vision_bytes: int) -> None:
    """A note on what a large picture takes besides tokens."""
    if vision_bytes and any(one.image.num_tokens >= _LARGE for one in shown):
        console.note(f"Looking takes up to {readable_size(vision_bytes)} of memory.")


def file_names(text: str) -> list[str]:
    """The files of a line as a shell reads it: quotes and backslashes keep blanks together.

    Raises:
        InvalidRequest: a quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidRequest(f"the file's name cannot be read: {error}", "image") from None


def completions(typed: str) -> list[str]:
    """Files and folders whose names go on from what is typed, blanks after backslashes."""
    folder, _, beginning = _unescaped(typed).rpartition("/")
    root = Path(folder or ("/" if typed.startswith("/") else ".")).expanduser()
    try:
        found = sorted(entry for entry in root.iterdir() if entry.name.startswith(beginning))
    except OSError:
        return []
    head = typed[: typed.rindex("/") + 1] if "/" in typed else ""
    return [
        head
        + entry.name.replace("\\", "\\\\").replace(" ", "\\ ")
        + ("/" if entry.is_dir() else "")
        for entry in found
        if beginning or not entry.name.startswith(".")
    ]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text)


def _described(name: str, opened: Opened) -> str:
    image = opened.image
    line = f"{name}: {opened.width}x{opened.height} pixels"
    if opened.width > image.width or opened.height > image.height:
        line += f", seen as {image.width}x{image.height}"
    return "\n".join([f"{line}, {image.num_tokens:,} tokens", *opened.remarks])
