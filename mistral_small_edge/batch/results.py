"""Results as OpenAI's batches spell them: what the endpoint would have answered, in a line.

A request that fails has the status and the error of the server in `response`, as on the platform. `error`
is for what has no answer at all, and is null: such requests have no line, and are done again.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mistral_small_edge.chat.deltas import Finish
from mistral_small_edge.server.errors import error_object, face_of

if TYPE_CHECKING:
    from mistral_small_edge.batch.requests import BatchRequest
    from mistral_small_edge.errors import EdgeError
    from mistral_small_edge.llm.together import Deltas
    from mistral_small_edge.server.asked import Shape
    from mistral_small_edge.server.wire_answer import JSONObject

ANSWERED = 200


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a request; `tokens` were written for it. `request_id` is of this one try."""

    id: str
    custom_id: str
    status: int
    body: JSONObject
    tokens: int = 0
    request_id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")

    @property
    def failed(self) -> bool:
        """Whether it is an error."""
        return self.status != ANSWERED

    @property
    def line(self) -> bytes:
        """Its JSON and the end of the line."""
        response = {
            "status_code": self.status,
            "request_id": self.request_id,
            "body": self.body,
        }
        whole = {"id": self.id, "custom_id": self.custom_id, "response": response, "error": None}
        # Half a character, as JSON can escape it, is written as it came: escaped.
        return json.dumps(whole, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def answered(request: BatchRequest, shape: Shape, deltas: Deltas) -> Result:
    """The answer, whole."""
    ends = [delta for some in deltas for delta in some if isinstance(delta, Finish)]
    tokens = sum(end.usage.completion_tokens for end in ends)
    return Result(request.id, request.custom_id, ANSWERED, shape.whole(deltas), tokens)


def failed(request: BatchRequest, error: EdgeError) -> Result:
    """Why there is none."""
    return Result(request.id, request.custom_id, face_of(error).status, error_object(error))
