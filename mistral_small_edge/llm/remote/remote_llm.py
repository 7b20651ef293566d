"""The model behind a server, as if it were loaded here."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_small_edge.chat.messages import ChatRequest
from mistral_small_edge.errors import EngineStopped, InvalidRequest, ServerUnreachable
from mistral_small_edge.llm.chat_model import ChatModel
from mistral_small_edge.llm.remote.body import chat_body, text_body
from mistral_small_edge.llm.remote.connection import Connection
from mistral_small_edge.llm.remote.events import STREAMED
from mistral_small_edge.llm.remote.session_id import session_id
from mistral_small_edge.llm.remote.stream import RemoteStream
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from mistral_small_edge.chat.messages import TextRequest


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says of its model."""

    names: tuple[str, ...]
    context_length: int
    max_sequences: int
    sees: bool
    fingerprint: str
    default_sampling: SamplingParams

    @classmethod
    def told(cls, models: Any) -> Served:
        """What the answer to `GET /v1/models` tells.

        Raises:
            LookupError, TypeError, ValueError, InvalidRequest: it tells something else.
        """
        first = models["data"][0]
        sampling = dict(first["default_sampling"])
        sampling["stop"] = tuple(sampling["stop"])
        sampling["logit_bias"] = {int(token): by for token, by in sampling["logit_bias"].items()}
        return cls(
            names=tuple(str(one["id"]) for one in models["data"]),
            context_length=int(first["max_model_len"]),
            max_sequences=int(first["max_num_seqs"]),
            sees="image" in first["input_modalities"],
            fingerprint=str(first["system_fingerprint"]),
            default_sampling=SamplingParams(**sampling),
        )


class RemoteLLM(ChatModel):
    """A model that another process computes. Make it with `connect`, close it when done (or use `with`).

    Thread-safe, and the same seed and prompt give the answer that they give there. Requests are checked
    where they are computed, with the same errors as here; besides, `stream` and what comes of it may raise
    a ServerError, and EngineOverloaded where more wait than the server lets in.

    Attributes:
        url: where the server is.
        name: the server's first name for its model, until somebody here calls it otherwise. The other
            attributes are those of `ChatModel`.
    """

    def __init__(self, connection: Connection, served: Served) -> None:
        self.url = connection.url
        self.name = served.names[0]
        self.context_length = served.context_length
        self.max_sequences = served.max_sequences
        self.default_sampling = served.default_sampling
        self.sees = served.sees
        self.fingerprint = served.fingerprint
        self.vision_bytes = 0
        self._names = served.names
        self._connection = connection
        self._streams: weakref.WeakSet[RemoteStream] = weakref.WeakSet()
        self._lock = threading.Lock()  # of the streams
        self._closed = threading.Event()
        self._finalizer = weakref.finalize(self, connection.close)

    @classmethod
    def connect(cls, url: str, *, api_key: str | None = None) -> RemoteLLM:
        """The model of the server at `url`.

        Raises:
            InvalidRequest: this is no address, or no key.
            ServerUnreachable: no server of this program answers there.
            ServerLocked: it wants an API key, or another one.
            EngineLoading: it is still reading its model.
            ModelError: it could not load one.
        """
        connection = Connection(url, api_key)
        try:
            return cls(connection, _served(connection))
        except BaseException:
            connection.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """What the server calls its model."""
        return self._names

    def stream(self, request: ChatRequest | TextRequest) -> RemoteStream:
        """As of `ChatModel`, and:

        Raises:
            InvalidRequest: a field that a server has not; `param` names it.
            EngineOverloaded: as many wait there as are let in.
            ServerError: the server is gone, or its answer is none.
        """
        if isinstance(request, ChatRequest):
            path, body = "v1/chat/completions", chat_body(request)
            session = session_id(request)
        else:
            path, body = "v1/completions", text_body(request, self.context_length)
            session = None  # a text is no conversation: it goes to whoever has time
        if self._closed.is_set():
            raise EngineStopped
        events = self._connection.post(path, {"model": self._names[0], **body, **STREAMED}, session)
        stream = RemoteStream(self, self.url, events)
        with self._lock:
            self._streams.add(stream)
        if self._closed.is_set():  # meanwhile
            stream.fail(EngineStopped())
        return stream

    def close(self) -> None:
        """End every running request and hang up. Idempotent."""
        self._closed.set()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.fail(EngineStopped())
        self._finalizer()


def _served(connection: Connection) -> Served:
    models = connection.get("v1/models")
    try:
        return Served.told(models)
    except (LookupError, TypeError, ValueError, AttributeError, InvalidRequest):
        raise ServerUnreachable(
            connection.url, "what answers there is no server of this program, or of another version"
        ) from None
