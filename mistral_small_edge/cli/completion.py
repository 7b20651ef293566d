"""What Tab offers in a shell: models of the catalog, saved conversations, machines.

Typer speaks with the shells. Here is what only we know, found at once and on this disk, and what bash
does to names with a colon in them.
"""

from __future__ import annotations

import os
from contextlib import suppress

from mistral_small_edge import places

_SHELL = "_MISTRAL_SMALL_EDGE_COMPLETE"  # set where a shell asks, and says which
_WORDS, _CURSOR = "COMP_WORDS", "COMP_CWORD"  # bash's: the words, one a line, and which is typed
_STANDING = "_MISTRAL_SMALL_EDGE_STANDING"  # ours: what stands before the piece bash would replace


def model_names(typed: str) -> list[str]:
    """Models, and their builds where there are several."""
    from mistral_small_edge.store.catalog import Catalog

    entries = Catalog.load().entries
    builds = [entry.choices() for entry in entries if len(entry.builds) > 1]
    names = [entry.name for entry in entries]
    return _fitting([*names, *(each.name for group in builds for each in group)], typed)


def session_names(typed: str) -> list[str]:
    """Saved conversations, the latest used first."""
    from mistral_small_edge.sessions import Shelf

    with suppress(OSError):  # there is no home that they could be in
        return _fitting(Shelf(places.data_directory()).names(), typed)
    return []


def machine_names(typed: str) -> list[str]:
    """Machines that a plan can be made for."""
    from mistral_small_edge.machines import PRESETS

    return _fitting(["list", *PRESETS], typed)


def _fitting(names: list[str], typed: str) -> list[str]:
    """The names that go on as typed; of each what bash is to put in place of `typed`."""
    standing = os.environ.get(_STANDING, "")
    whole = standing + typed
    return [name.removeprefix(standing) for name in names if name.startswith(whole)]


def join_bash_words() -> None:
    """Undo what bash does to the word at the cursor, if it is bash that asks.

    It cuts words at `:` and `=`, so that of `--model=demo:Q4` only `Q4` would be known, and nothing of
    what that is. And it replaces only that piece: what stands before it is put aside for `_fitting`.
    """
    if os.environ.get(_SHELL) != "complete_bash":
        return
    words, at = os.environ.get(_WORDS, "").split("\n"), int(os.environ.get(_CURSOR, "0"))
    if not 0 < at < len(words):
        return
    before, typed, standing = words[:at], words[at], ""
    if typed in (":", "="):  # the piece after it is yet to come
        before, typed = [*before, typed], ""
    if len(before) > 2 and before[-1] == ":":  # the first word is our own name
        standing = f"{before[-2]}:"
        before = before[:-2]
    if before[-1] == "=":
        before = before[:-1]
    os.environ.update({_WORDS: "\n".join([*before, typed]), _CURSOR: str(len(before))})
    os.environ[_STANDING] = standing
