"""The model, read in a thread of its own while the server already answers /health."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from mistral_small_edge.errors import EdgeError, EngineStopped
from mistral_small_edge.llm import LLM

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.config import EngineConfig


class Loading:
    """Begins at once; `is_reading` when llama.cpp reads, and Python has nothing to do for it, or it has ended.

    Args:
        on_end: called in that thread with the model, or with what has failed.
    """

    def __init__(
        self, model: str, config: EngineConfig, on_end: Callable[[LLM | EdgeError], None]
    ) -> None:
        self.future: Future[LLM] = Future()
        self.is_reading = threading.Event()
        self._model = model
        self._config = config
        self._on_end = on_end
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._load, name="loading")
        self._thread.start()

    def stop(self) -> None:
        """Free the model, or give up loading it."""
        self._given_up.set()
        self._thread.join()
        if self.future.exception() is None:
            self.future.result().close()

    def _load(self) -> None:
        try:
            llm = LLM.load(self._model, self._config, on_progress=self._check, on_trial=self._check)
        except EdgeError as error:
            self.future.set_exception(error)
            self._on_end(error)
        except Exception as error:  # noqa: BLE001 - the server tells it, whatever it was
            self.future.set_exception(error)
            self._on_end(EngineStopped(f"{type(error).__name__}: {error}"))
        else:
            self.future.set_result(llm)
            self._on_end(llm)
        finally:
            self.is_reading.set()

    def _check(self, _fraction: float) -> None:
        self.is_reading.set()
        if self._given_up.is_set():
            raise EngineStopped("it was told to stop")
