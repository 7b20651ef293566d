"""What every JSON object of a request has in common: no field is ignored without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


class Wire(BaseModel):
    """A JSON object of a request. Fields that it does not know are kept, to be named."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, protected_namespaces=(), populate_by_name=False
    )


def refuse_unknown(wire: Wire, *, lenient: bool) -> dict[str, str]:
    """A header that names the fields that are passed over: none are, unless `lenient`.

    Raises:
        InvalidRequest: there is one.
    """
    found = list(unknown(wire))
    if found and not lenient:
        raise InvalidRequest(f"{found[0]} is not a field that this server knows", found[0])
    return {"X-Ignored-Fields": ", ".join(found)} if found else {}


def unknown(wire: Wire, path: str = "") -> Iterator[str]:
    """Paths of the fields that nobody reads, as `messages.0.name`."""
    for name in wire.model_extra or {}:
        yield f"{path}{name}"
    for name in type(wire).model_fields:
        yield from _within(getattr(wire, name), f"{path}{name}.")


def _within(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Wire):
        yield from unknown(value, path)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _within(one, f"{path}{index}.")
