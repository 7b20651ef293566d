"""What a server says went wrong, as the error that the same request would have met here.

The way back from `server/errors.py`: one table, by OpenAI's `code`. A test sends every error of the program
through both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_small_edge import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class _Told:
    """An error object: its sentence, the field it is about, and all that stands beside them."""

    url: str
    message: str
    param: str
    facts: Mapping[str, Any]


def _image(told: _Told) -> errors.UnsupportedImage:
    if "model" in told.facts:
        return errors.NoProjector(told.facts["model"], told.param)
    return errors.UnsupportedImage(told.message, told.param)


_READ: Mapping[str, Callable[[_Told], errors.EdgeError]] = {
    "invalid_value": lambda told: errors.InvalidRequest(told.message, told.param),
    "body_too_large": lambda told: errors.InvalidRequest(told.message, told.param),
    "unsupported_grammar": lambda told: errors.InvalidGrammar(told.message, told.param),
    "unsupported_image": _image,
    "context_length_exceeded": lambda told: errors.ContextLengthExceeded(
        told.facts["prompt_tokens"], told.facts["limit"]
    ),
    "answer_cut_short": lambda told: errors.AnswerCutShort(
        told.facts["text"], told.facts["completion_tokens"]
    ),
    "model_not_found": lambda told: errors.ModelNotFound(told.facts["name"], told.facts["known"]),
    "model_failed": lambda told: errors.ModelError(told.message),
    "worker_failed": lambda told: errors.WorkerError(told.facts["worker"], told.facts["reason"]),
    "worker_lost": lambda told: errors.WorkerLost(
        told.facts["worker"], told.facts["reason"], told.facts["retry_after"]
    ),
    "model_loading": lambda told: errors.EngineLoading(told.facts["retry_after"]),
    "timeout": lambda told: errors.EngineTimeout(told.facts["seconds"]),
    "engine_overloaded": lambda told: errors.EngineOverloaded(
        told.facts["waiting"], told.facts["retry_after"]
    ),
    "engine_stopped": lambda told: errors.EngineStopped(told.facts["cause"]),
    "decode_failed": lambda told: errors.DecodeFailed(told.facts["llama_code"], told.facts["rows"]),
    "encode_failed": lambda told: errors.EncodeFailed(
        told.facts["llama_code"], told.facts["columns"], told.facts["rows"]
    ),
    "invalid_api_key": lambda told: errors.ServerLocked(told.url, told.message),
}


def refusal(url: str, error: Mapping[str, Any]) -> errors.EdgeError:
    """The error that the object in `{"error": …}` tells of.

    One that is not known, or lacks its facts, is a ServerFailed with the server's own sentence.
    """
    message, param = error.get("message"), error.get("param")
    told = _Told(url, str(message), "messages" if param is None else str(param), error)
    read = _READ.get(str(error.get("code")))
    try:
        if read is not None:
            return read(told)
    except KeyError:
        pass
    return errors.ServerFailed(url, told.message)
