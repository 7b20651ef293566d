"""The file of requests: read twice and never held, once to find what is wrong with it, once to answer.

What makes a line no request is found before a model is loaded, and refused with the line's number: without
an id there is nothing to answer to, and such mistakes are seldom made once. What is wrong with a body is
that request's own affair, and becomes its result.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from mistral_small_edge.config import ServerConfig
from mistral_small_edge.errors import InvalidRequest, readable_size

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
PARAM = "REQUESTS"

_FIELDS = {"custom_id": str, "method": str, "url": str, "body": dict}
_MAX_LINE = ServerConfig().max_body  # bytes; as large as the server lets a request be


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One line: an endpoint's path, and the body that it would be sent."""

    custom_id: str
    url: str
    body: dict[str, Any]

    @property
    def id(self) -> str:
        """What its result is called: equal only for the same request under the same custom_id."""
        said = json.dumps([self.custom_id, self.url, self.body], sort_keys=True)
        return f"batch_req_{hashlib.sha256(said.encode()).hexdigest()[:32]}"


class RequestFile:
    """Requests in the order of their lines.

    Attributes:
        name: the file, as errors call it.
        ids: each request's id by its custom_id, in that order.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Look through all of the file, which is to stay open.

        Raises:
            InvalidRequest: a line that is no request, a custom_id that comes twice, or no line.
        """
        self.name = name
        self._file = file
        self.ids: dict[str, str] = {}
        for number, request in self._read(None):
            if request.custom_id in self.ids:
                raise _wrong(name, number, f"custom_id {request.custom_id!r} comes a second time")
            self.ids[request.custom_id] = request.id
        if not self.ids:
            raise InvalidRequest(f"{name} has no requests", PARAM)
        self._end = file.tell()

    def __iter__(self) -> Iterator[BatchRequest]:
        """Each request, read anew; what was added to the file since is not looked at.

        Raises:
            InvalidRequest: it is not the file that it was.
        """
        for number, request in self._read(self._end):
            if self.ids.get(request.custom_id) != request.id:
                raise _wrong(self.name, number, "the file was changed while its batch ran")
            yield request

    def _read(self, end: int | None) -> Iterator[tuple[int, BatchRequest]]:
        self._file.seek(0)
        number = 0
        while (end is None or self._file.tell() < end) and (line := self._line(number + 1)):
            number += 1
            if line.strip():
                yield number, _parsed(line, self.name, number)

    def _line(self, number: int) -> bytes:
        line = self._file.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise _wrong(self.name, number, f"it is longer than {readable_size(_MAX_LINE)}")
        return line


def _parsed(line: bytes, name: str, number: int) -> BatchRequest:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise _wrong(name, number, "it is not JSON") from None
    wrong = _what_is_wrong(found)
    if wrong is not None:
        raise _wrong(name, number, wrong)
    return BatchRequest(found["custom_id"], found["url"], found["body"])


def _what_is_wrong(found: object) -> str | None:
    """Why a line is no request; None if it is one."""
    if not isinstance(found, dict):
        return "it is not a JSON object"
    unknown = next((key for key in found if key not in _FIELDS), None)
    if unknown is not None:
        return f"{unknown!r} is not a field of a request; they are {', '.join(_FIELDS)}"
    for key, kind in _FIELDS.items():
        if not isinstance(found.get(key), kind):
            return f"{key} is missing, or not {'an object' if kind is dict else 'a string'}"
    if not found["custom_id"]:
        return "custom_id is empty"
    if found["method"] != "POST":
        return f"method is {found['method']!r}; it must be POST"
    if found["url"] not in (CHAT, TEXT):
        return f"url is {found['url']!r}; it must be {CHAT} or {TEXT}"
    return None


def _wrong(name: str, number: int, what: str) -> InvalidRequest:
    return InvalidRequest(f"{name}, line {number}: {what}", PARAM)
