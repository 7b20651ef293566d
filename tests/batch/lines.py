"""Requests as they stand in a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mistral_small_edge.batch.requests import CHAT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def line(custom_id: str, body: dict[str, object], url: str = CHAT, **more: object) -> str:
    """One request."""
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body} | more)


def question(text: str, **more: object) -> dict[str, object]:
    """The body of a conversation with one message."""
    return {
        "model": "toy",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
    } | more


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """A file of them."""
    path.write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    return path
