"""A real server on loopback around an app, for as long as a test needs it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mistral_small_edge.config import ServerConfig
from mistral_small_edge.server.app import create_app
from mistral_small_edge.server.listening import bind, url_of
from mistral_small_edge.server.run import new_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.llm import LLM

PATIENCE = 60  # seconds


@contextmanager
def serving(
    llm: LLM | Future[LLM], slots: int = 2, config: ServerConfig | None = None
) -> Iterator[str]:
    """The URL of a server over a model, or over the promise of one."""
    config = config or ServerConfig()
    app = create_app(llm if isinstance(llm, Future) else _loaded(llm), slots, config)
    server = new_server(app, config)
    with bind("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield url_of(listening)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def _loaded(llm: LLM) -> Future[LLM]:
    loading: Future[LLM] = Future()
    loading.set_result(llm)
    return loading
