"""What every JSON object of a request has in common: no field is ignored without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.server.errors import validation_message

if TYPE_CHECKING:
    from collections.abc import Iterator

W = TypeVar("W", bound="Wire")


class Wire(BaseModel):
    """A JSON object of a request. Fields that it does not know are kept, to be named."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, protected_namespaces=(), populate_by_name=False
    )


def read(kind: type[W], body: object) -> W:
    """JSON as that kind of object: what FastAPI does for endpoints, for who is none.

    Raises:
        InvalidRequest: a value of the wrong kind, or a field that is missing.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        message, param = validation_message(found, body)
        raise InvalidRequest(message, param or "body") from None


def refuse_unknown(wire: Wire, *, lenient: bool) -> dict[str, str]:
    """A header that names the fields that are passed over: none are, unless `lenient`.

    Raises:
        InvalidRequest: there is one.
    """
    found = list(unknown(wire))
    if found and not lenient:
        raise InvalidRequest(f"{found[0]} is not a field that is known here", found[0])
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
