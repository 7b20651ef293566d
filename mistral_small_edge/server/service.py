"""What every endpoint works with: the model (there, coming, or failed), and who is let in to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from fastapi import Request

from mistral_small_edge.errors import EdgeError, EngineLoading, EngineStopped
from mistral_small_edge.server.admission import Admission
from mistral_small_edge.server.asked import check_name
from mistral_small_edge.server.metrics import Metrics
from mistral_small_edge.server.pictures import Pictures

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mistral_small_edge.config import ServerConfig
    from mistral_small_edge.llm import LLM

Status = Literal["loading", "ready", "interrupted", "failed"]


class Service:
    """One model behind the server; it may still be loading."""

    def __init__(self, loading: Future[LLM], slots: int, config: ServerConfig) -> None:
        self._loading = loading
        self.config = config
        self.started = int(time.time())
        self.admission = Admission(slots, config.max_queue)
        self.metrics = Metrics(self.admission, lambda: self.status[0] == "ready")
        self.pictures = Pictures(follow=config.image_urls)

    @property
    def status(self) -> tuple[Status, EdgeError | None]:
        """How the model is, and why nothing can be computed right now unless it is ready."""
        try:
            trouble = self.model().interruption
        except EngineLoading as error:
            return "loading", error
        except EdgeError as error:
            return "failed", error
        return ("ready" if trouble is None else "interrupted"), trouble

    def model(self) -> LLM:
        """The model.

        Raises:
            EngineLoading: not yet.
            EdgeError: what loading has failed with.
        """
        if not self._loading.done():
            raise EngineLoading
        failure = self._loading.exception()
        if isinstance(failure, EdgeError):
            raise failure.with_traceback(None)  # or it grows with each request
        if failure is not None:
            raise EngineStopped(str(failure))
        return self._loading.result()

    def llm(self, name: str) -> LLM:
        """The model, if it is called so.

        Raises:
            ModelNotFound: it is not; it lists the names that it has.
            What `model` raises.
        """
        llm = self.model()
        check_name(name, self.names)
        return llm

    @property
    def names(self) -> tuple[str, ...]:
        """What the model answers to, its own name first."""
        return (*dict.fromkeys((*self.model().names, *self.config.aliases)),)


def service_of(request: Request) -> Service:
    """The service of the app that the request came to."""
    service: Service = request.app.state.service
    return service
