"""Events as lines of JSON, and back: the format of a session's file, version 1.

The first line is `{"event": "session", "version": 1, "time": …}`; each other one is an event of
`session.py`. What a line may hold is decided here, so that a file that somebody edited, or a later
program wrote, is a sentence about that line and nothing worse.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.sessions.session import (
    Answered,
    Asked,
    ModelChosen,
    SamplingSet,
    Shortened,
    SystemSet,
    Withdrawn,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_small_edge.sessions.session import Event

VERSION = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")
# What a person sets. The rest of SamplingParams is for programs, and never part of a session.
_SETTINGS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
    "seed",
    "stop",
    "max_tokens",
)
_WHOLE = ("top_k", "seed", "max_tokens")


@dataclass(frozen=True, slots=True)
class Begun:
    """The file's first line."""

    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file; `time` is when it was written, to the second, in UTC."""

    event: Event | Begun
    time: datetime


def encoded(line: Line) -> bytes:
    """The line, its end included."""
    said = {**_described(line.event), "time": line.time.isoformat()}
    # Lone surrogates are no text, but a system prompt from a command line may hold them.
    return json.dumps(said, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"


def decoded(line: bytes) -> Line:
    """What a line says.

    Raises:
        ValueError: it is none of ours; a sentence about it.
    """
    try:
        said = json.loads(line.decode(errors="surrogatepass"))
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(said, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - all that is wrong is one class
    return Line(_event(said), _time(said))


def _described(event: Event | Begun) -> dict[str, object]:
    match event:
        case Begun(version):
            return {"event": "session", "version": version}
        case ModelChosen(name):
            return {"event": "model", "name": name}
        case SamplingSet(sampling):
            values = {name: getattr(sampling, name) for name in _SETTINGS}
            return {"event": "sampling", **values}
        case SystemSet(text):
            return {"event": "system", "text": text}
        case Asked(text, pictures):
            return {"event": "asked", "text": text, "pictures": pictures}
        case Answered(index, text, tokens):
            return {"event": "answered", "index": index, "text": text, "tokens": tokens}
        case Withdrawn():
            return {"event": "withdrawn"}
        case Shortened(length):
            return {"event": "shortened", "length": length}


def _event(said: Mapping[str, Any]) -> Event | Begun:
    match said.get("event"):
        case "session":
            return Begun(_whole(said, "version"))
        case "model":
            return ModelChosen(_text(said, "name"))
        case "sampling":
            return SamplingSet(_sampling(said))
        case "system":
            return SystemSet(_text(said, "text"))
        case "asked":
            return Asked(_text(said, "text"), _pictures(said))
        case "answered":
            tokens = None if said.get("tokens") is None else _whole(said, "tokens")
            return Answered(_whole(said, "index"), _text(said, "text"), tokens)
        case "withdrawn":
            return Withdrawn()
        case "shortened":
            return Shortened(_whole(said, "length"))
    raise ValueError(
        f"its event is {said.get('event')!r}, which is none that version {VERSION} has"
    )


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise ValueError(f"its {name} is {value!r}, and must be text")  # noqa: TRY004
    return value


def _whole(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"its {name} is {value!r}, and must be a whole number, 0 or more")
    return value


def _time(said: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(_text(said, "time")).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"its time is {said.get('time')!r}, and must be one of ISO 8601") from None


def _pictures(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Digests, which are names of files: nothing else may come of them."""
    value = said.get("pictures")
    if not isinstance(value, list) or not all(
        isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in value
    ):
        raise ValueError("its pictures must be a list of sha256, in hex")
    return tuple(value)


def _sampling(said: Mapping[str, Any]) -> SamplingParams:
    if missing := [name for name in _SETTINGS if name not in said]:
        raise ValueError(f"its {missing[0]} is missing")
    values = {name: said[name] for name in _SETTINGS}
    if broken := [name for name in _WHOLE if isinstance(values[name], float)]:
        raise ValueError(f"its {broken[0]} is {values[broken[0]]}, and must be a whole number")
    try:
        return SamplingParams(**{**values, "stop": tuple(values["stop"])})
    except (InvalidRequest, TypeError) as error:
        raise ValueError(f"its settings cannot be: {error}") from None
