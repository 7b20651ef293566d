"""Text files that go with a message: read, bounded, and set apart from what is said of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.errors import InvalidRequest, readable_size
from mistral_small_edge.images.formats import likeness, recognised

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES = 1 << 20  # 131,072 tokens, the longest context, are hardly ever more
_FENCE = re.compile(r"^\s*(`{3,})", re.MULTILINE)
_COMMAND = "/attach"


@dataclass(frozen=True, slots=True)
class Attached:
    """A text by its file's name."""

    name: str
    text: str

    @property
    def said(self) -> str:
        """A line for the person about it."""
        lines = len(self.text.splitlines())
        size = readable_size(len(self.text.encode()))
        return f"{self.name}: {lines:,} line{'' if lines == 1 else 's'}, {size}"

    @property
    def block(self) -> str:
        """As the model reads it: a line with the name, and a fence that the text does not close."""
        longest = max((len(found[1]) for found in _FENCE.finditer(self.text)), default=2)
        fence = "`" * (longest + 1)
        end = "" if self.text.endswith("\n") or not self.text else "\n"
        return f"{self.name}\n{fence}\n{self.text}{end}{fence}"


@dataclass(frozen=True, slots=True)
class Sorted:
    """Files by what is in them: texts, and the names of those with pictures."""

    texts: tuple[Attached, ...]
    pictures: tuple[str, ...]


def read(files: Iterable[str]) -> Sorted:
    """What is in some files: all of them, or none.

    Raises:
        InvalidRequest: one cannot be read, is too large, or is neither text nor a picture.
    """
    texts, pictures = [], []
    for file in files:
        data = _opening(file)
        text = _text(data)
        if text is None and recognised(data) is not None:
            pictures.append(file)
        else:
            texts.append(_attached(file, data, text))
    return Sorted(tuple(texts), tuple(pictures))


def with_attached(attached: Iterable[Attached], text: str) -> str:
    """A message with texts before it: questions about the same ones begin alike."""
    return "\n\n".join([*(each.block for each in attached), text])


def _opening(file: str) -> bytes:
    """The file's bytes, of a large one no more than show that it is."""
    try:
        with Path(file).expanduser().open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:  # a null in the name, no such user's home
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"{file} cannot be read: {reason}", _COMMAND) from error


def _attached(file: str, data: bytes, text: str | None) -> Attached:
    name = " ".join(Path(file).name.split())
    if len(data) > MAX_BYTES:
        raise InvalidRequest(
            f"{name} is larger than {readable_size(MAX_BYTES)}, which no context holds", _COMMAND
        )
    if text is None:
        raise InvalidRequest(f"{name} is {likeness(data)}, not UTF-8 text", _COMMAND)
    return Attached(name, text)


def _text(data: bytes) -> str | None:
    """What the bytes spell; None if they are no text."""
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
