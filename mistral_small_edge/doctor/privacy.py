"""What must not be in a report: secrets, and who somebody is.

Two walls. Of environment variables only those that are known to be harmless are shown with their
values; all others are `set`. And what variables with the names of secrets hold, the home directory and
the user's name are taken out of every text, wherever they came from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mistral_small_edge.doctor.report import Fact, Section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HIDDEN = "…"
_OURS = "MISTRAL_SMALL_EDGE_"
_SHOWN = frozenset(
    {
        *(f"{_OURS}{name}" for name in ("CACHE", "DATA", "IMAGE_CACHE", "MODEL", "PROMPT_CACHE")),
        *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "XDG_DATA_HOME"),
        *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY"),
    }
)
_ADDRESSES = frozenset({"HF_ENDPOINT"})
# Worth knowing of; whatever may be in them.
_CONCERNING = re.compile(
    rf"{_OURS}|HF_|HUGGING|XDG_|OMP_|GOMP_|GGML_|LLAMA_|(HTTPS?|ALL|NO)_PROXY$"
)
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH|PROXY", re.IGNORECASE)
_SHORTEST = 8  # letters; shorter ones are words, and taking them out would tell what they are


def environment(variables: Mapping[str, str]) -> Section:
    """The variables that concern this program, by name."""
    names = sorted(name for name in variables if _CONCERNING.match(name.upper()))
    return Section(
        "environment", tuple(Fact(name, _shown(name, variables[name])) for name in names)
    )


def censor(variables: Mapping[str, str], home: Path | None, user: str) -> Callable[[str], str]:
    """What to pass every text of a report through.

    Args:
        user: the name that is logged in with; empty if nobody knows.
    """
    secrets = [
        value
        for name, value in variables.items()
        if _SECRET.search(name) and len(value) >= _SHORTEST
    ]
    secrets.sort(key=len, reverse=True)  # one may be part of another
    at_home = None if home is None or len(home.parts) < 2 else str(home)
    named = re.compile(rf"(?<=[/\\]){re.escape(user)}(?=[/\\]|\b)") if user else None

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
        if at_home is not None:
            text = re.sub(rf"{re.escape(at_home)}(?=[/\\]|\W|$)", "~", text)
        if named is not None:
            text = named.sub(HIDDEN, text)
        return "".join(letter if letter.isprintable() else " " for letter in text)

    return clean


def _shown(name: str, value: str) -> str:
    if name.upper() in _SHOWN:
        return value
    if name.upper() in _ADDRESSES:
        return _host(value)
    return "set" if value else "empty"


def _host(address: str) -> str:
    """An address without what may be secret in it: only where it leads."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "set"
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "set"
