"""The settings that /set knows: how each is written, and what it means.

Text in, SamplingParams out. The ranges are SamplingParams' own; here is only what a person types.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mistral_small_edge.sampling_params import SamplingParams

RESET = "none"


@dataclass(frozen=True, slots=True)
class Setting:
    """`read` turns what was typed into a value, or raises ValueError; `kind` is what it wants."""

    read: Callable[[str], object]
    kind: str
    meaning: str


def _strings(text: str) -> tuple[str, ...]:
    """`END` is itself; `"\\n"` and `["\\n", "END"]` are JSON, for what cannot be typed."""
    if not text.startswith(('"', "[")):
        return (text,)
    value = json.loads(text)
    strings = value if isinstance(value, list) else [value]
    if not all(isinstance(string, str) for string in strings):
        raise ValueError(text)
    return tuple(strings)


_NUMBER = "a number"
_WHOLE = "a whole number"
SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "temperature": Setting(float, _NUMBER, "0..2; 0 always takes the likeliest token"),
        "top_p": Setting(float, _NUMBER, "above 0, to 1; the likeliest tokens that add up to it"),
        "top_k": Setting(int, _WHOLE, "the k likeliest tokens; 0 is off"),
        "min_p": Setting(float, _NUMBER, "0..1; drops tokens below this share of the likeliest"),
        "frequency_penalty": Setting(float, _NUMBER, "-2..2; per earlier use in the answer"),
        "presence_penalty": Setting(float, _NUMBER, "-2..2; once, if used in the answer"),
        "repeat_penalty": Setting(float, _NUMBER, "0.01..10; for the last 64 tokens; 1 is off"),
        "seed": Setting(int, _WHOLE, "same seed, same conversation, same answer"),
        "max_tokens": Setting(int, _WHOLE, "tokens an answer may have"),
        "stop": Setting(
            _strings, 'text, a "JSON string" or ["a", "list"]', "up to 4 strings that end an answer"
        ),
    }
)


def changed(
    sampling: SamplingParams, name: str, text: str, defaults: SamplingParams
) -> SamplingParams:
    """`sampling` with one setting as typed; `none` brings back the one of `defaults`.

    Raises:
        InvalidRequest: no such setting, or no such value.
    """
    setting = _known(name)
    value: Any = getattr(defaults, name) if text == RESET else _read(setting, name, text)
    return replace(sampling, **{name: value})


def described(sampling: SamplingParams, name: str) -> str:
    """One setting: its name, its value, its meaning.

    Raises:
        InvalidRequest: no such setting.
    """
    meaning = _known(name).meaning
    return f"{name} {shown(sampling, name)}  ({meaning})"


def _known(name: str) -> Setting:
    if name not in SETTINGS:
        raise InvalidRequest(f"no setting {name!r}; there are: {', '.join(SETTINGS)}", "setting")
    return SETTINGS[name]


def _read(setting: Setting, name: str, text: str) -> object:
    try:
        return setting.read(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(
            f"{name} is {text!r}; it must be {setting.kind}, or {RESET} for the model's own", name
        ) from None


def listing(sampling: SamplingParams) -> str:
    """Every setting, one a line: its name, its value, its meaning."""
    values = {name: shown(sampling, name) for name in SETTINGS}
    names_wide, values_wide = max(map(len, values)), max(map(len, values.values()))
    return "\n".join(
        f"{name:<{names_wide}}  {value:<{values_wide}}  {SETTINGS[name].meaning}"
        for name, value in values.items()
    )


def shown(sampling: SamplingParams, name: str) -> str:
    """One setting's value, in a form that /set would take."""
    value = getattr(sampling, name)
    if value is None or value == ():
        return RESET
    return json.dumps(value, ensure_ascii=False)
