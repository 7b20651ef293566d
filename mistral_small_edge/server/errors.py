"""How each error looks on the wire: OpenAI's JSON, a status, and when to come back.

One table, error class to Face, searched along the class's ancestry; a test walks the exception tree
and fails if a class has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_small_edge import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Face:
    """Status, OpenAI's `type` and `code`; seconds after which a repetition may go better."""

    status: int
    type: str
    code: str | None = None
    retry_after: int | None = None


_TEXT_OR_NULL = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _TEXT_OR_NULL,
                "code": _TEXT_OR_NULL,
            },
        }
    },
}
# For the OpenAPI document; without them FastAPI would tell of a 422 that is never sent.
ERROR_RESPONSES: dict[int | str, dict[str, object]] = {
    family: {"description": what, "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
    for family, what in (("4XX", "The request cannot be honoured."), ("5XX", "Not now."))
}

_REQUEST = "invalid_request_error"
_SERVER = "server_error"

FACES: Mapping[type[errors.EdgeError], Face] = {
    errors.InvalidRequest: Face(400, _REQUEST, "invalid_value"),
    errors.InvalidGrammar: Face(400, _REQUEST, "unsupported_grammar"),
    errors.UnsupportedImage: Face(400, _REQUEST, "unsupported_image"),
    errors.ContextLengthExceeded: Face(400, _REQUEST, "context_length_exceeded"),
    errors.AnswerCutShort: Face(400, _REQUEST, "answer_cut_short"),
    errors.ModelNotFound: Face(404, _REQUEST, "model_not_found"),
    errors.SessionError: Face(500, _SERVER),  # none is read or written here
    errors.ResultsNotKept: Face(500, _SERVER),  # nor these
    errors.ServerError: Face(502, _SERVER),  # none is asked
    errors.WorkerError: Face(503, _SERVER, "worker_failed", retry_after=5),
    errors.WorkerLost: Face(503, _SERVER, "worker_lost"),
    errors.ModelError: Face(503, _SERVER, "model_failed"),
    errors.EngineLoading: Face(503, _SERVER, "model_loading"),
    errors.EngineTimeout: Face(504, _SERVER, "timeout"),
    # Not 429: nobody has asked too much, and a proxy before several of us is to ask the next one.
    errors.EngineOverloaded: Face(503, _SERVER, "engine_overloaded"),
    errors.EngineStopped: Face(503, _SERVER, "engine_stopped", retry_after=5),
    errors.DecodeFailed: Face(500, _SERVER, "decode_failed"),
    errors.EncodeFailed: Face(500, _SERVER, "encode_failed"),
}

# Attributes that go along, so that a client of ours can raise the same.
FACTS: Mapping[type[errors.EdgeError], tuple[str, ...]] = {
    errors.NoProjector: ("model",),
    errors.ContextLengthExceeded: ("prompt_tokens", "limit"),
    errors.AnswerCutShort: ("text", "completion_tokens"),
    errors.ModelNotFound: ("name", "known"),
    errors.WorkerError: ("worker", "reason"),
    errors.WorkerLost: ("worker", "reason", "retry_after"),
    errors.EngineLoading: ("retry_after",),
    errors.EngineTimeout: ("seconds",),
    errors.EngineOverloaded: ("waiting", "retry_after"),
    errors.EngineStopped: ("cause",),
    errors.DecodeFailed: ("code", "rows"),
    errors.EncodeFailed: ("code", "columns", "rows"),
}


def face_of(error: errors.EdgeError) -> Face:
    """The row for the error's class, or for the nearest ancestor that has one."""
    for cls in type(error).__mro__:
        if cls in FACES:
            return FACES[cls]
    return Face(500, _SERVER)


def retry_after(error: errors.EdgeError) -> int | None:
    """Seconds for the Retry-After header."""
    own = getattr(error, "retry_after", None)
    return own if isinstance(own, int) else face_of(error).retry_after


def retry_header(error: errors.EdgeError) -> dict[str, str]:
    """The header itself, where there is one."""
    seconds = retry_after(error)
    return {} if seconds is None else {"Retry-After": str(seconds)}


def error_object(error: errors.EdgeError) -> dict[str, object]:
    """The body, with the error's facts beside OpenAI's four fields."""
    face = face_of(error)
    param = "messages" if isinstance(error, errors.ContextLengthExceeded) else None
    facts = {
        # OpenAI has a `code` of its own.
        "llama_code" if name == "code" else name: _sayable(getattr(error, name))
        for name in FACTS.get(type(error), ())
    }
    return wire_error(str(error), face.type, face.code, getattr(error, "param", param), **facts)


def _sayable(fact: object) -> object:
    """A name may be anything that a client has sent: also what is no Unicode."""
    return fact.encode("utf-8", "replace").decode() if isinstance(fact, str) else fact


def wire_error(
    message: str,
    kind: str,
    code: str | None = None,
    param: str | None = None,
    **facts: object,
) -> dict[str, object]:
    """`{"error": {…}}` as OpenAI spells it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **facts}}


def validation_message(found: Sequence[Mapping[str, object]], body: Any) -> tuple[str, str | None]:
    """What pydantic found first in the body, as a sentence, and the field it is about.

    A value that may be of several kinds fails as each of them. The failure farthest inside is of
    the kind that was meant.
    """
    if found[0]["type"] == "json_invalid":
        return "the body is not JSON", None
    paths = [_path(failure, body) for failure in found]
    same = (at for at, path in enumerate(paths) if path[: len(paths[0])] == paths[0])
    meant = max(same, key=lambda at: len(paths[at]))
    path = ".".join(map(str, paths[meant]))
    sentence = str(found[meant]["msg"])
    return (f"{path}: {sentence}" if path else sentence), path or None


def _path(failure: Mapping[str, object], value: Any) -> list[str | int]:
    """The way to a field of the body, without the kinds that pydantic names on it."""
    location = failure["loc"] if isinstance(failure["loc"], tuple) else ()
    path: list[str | int] = []
    for step in location[1:]:
        indices = range(len(value)) if isinstance(value, list) else ()
        if step in (value if isinstance(value, dict) else indices):
            path.append(step)
            value = value[step]
    return [*path, location[-1]] if failure["type"] == "missing" and location[1:] else path
