"""What a session may be called, and what one is called that nobody named.

A name is the name of a file on any platform, and of no file elsewhere. Pure.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

MAX_LENGTH = 60  # characters; of four bytes each, with a suffix, they are a file's name everywhere
_SLUG_WORDS = 5
_SLUG_LENGTH = 36  # characters; what is left takes the date and a number
_DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10)),
}


def checked_name(text: str) -> str:
    """`text` as it is written in a file's name.

    Raises:
        InvalidRequest: it cannot be one.
    """
    name = unicodedata.normalize("NFC", text)
    if not is_fit(name):
        raise InvalidRequest(
            f"session is {text!r}; its name has up to {MAX_LENGTH} letters, digits, '-', '_' and '.', "
            "and begins and ends with a letter or digit",
            "session",
        )
    return name


def automatic_names(day: date, title: str) -> Iterator[str]:
    """`2026-07-14-why-is-the-sky`, and then the same with numbers, for as long as they are taken."""
    name = "-".join((f"{day:%Y-%m-%d}", *_words(title)))
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def is_fit(name: str) -> bool:
    """Whether a file's name, its suffix aside, is a session's."""
    return (
        0 < len(name) <= MAX_LENGTH
        and all(_is_letter(character) or character in "-_." for character in name)
        and unicodedata.category(name[0])[0] in "LN"
        and _is_letter(name[-1])
        and name.partition(".")[0].upper() not in _DEVICES
    )


def _is_letter(character: str) -> bool:
    """With the marks that some scripts' letters consist of, and digits."""
    return unicodedata.category(character)[0] in "LMN"


def _words(title: str) -> list[str]:
    """The first words, as far as a name may have them."""
    text = unicodedata.normalize("NFC", title[: 4 * _SLUG_LENGTH]).lower()
    kept = "".join(character if _is_letter(character) else " " for character in text).split()
    words = "-".join(kept[:_SLUG_WORDS])[:_SLUG_LENGTH].split("-")
    return [word for word in words if word]
