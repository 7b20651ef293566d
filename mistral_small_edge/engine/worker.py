"""The one thread that turns the crank, and a stream for each request.

Threads exchange frozen values over queues; nothing else is shared. A crash of the loop reaches
every live stream and every later request: nobody is left waiting.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mistral_small_edge.engine.outputs import Failed, Finished, Output
from mistral_small_edge.errors import EngineStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mistral_small_edge.engine.backend import Constraint
    from mistral_small_edge.engine.engine import Engine
    from mistral_small_edge.engine.prompt import Prompt
    from mistral_small_edge.sampling_params import SamplingParams

T = TypeVar("T")
IDLE_SECONDS = 1.0  # without work or a word, until they are used


@dataclass(frozen=True, slots=True)
class _Add:
    request: int
    prompt: Prompt
    params: SamplingParams
    constraint: Constraint | None
    speculate: bool


@dataclass(frozen=True, slots=True)
class _Abort:
    request: int


@dataclass(frozen=True, slots=True)
class _Call:
    run: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


_Command = _Add | _Abort | _Call | _Stop


class Aborting(Protocol):
    """Whoever computes a request and may be told to leave it."""

    def abort(self, request: int) -> None:
        """End a request; it does not wait."""


class OutputStream:
    """One request's outputs, to be read by one thread: one by one, waiting, or all that are there.

    Any thread may close it; early, that aborts the request and ends the reading.
    """

    def __init__(self, worker: Aborting, request: int) -> None:
        self._worker = worker
        self._request = request
        self._outputs: SimpleQueue[Output | None] = SimpleQueue()  # None: closed
        self._ended = False
        self._listener: Callable[[], None] = _nobody

    @property
    def ended(self) -> bool:
        """Whether everything has been read, or it was closed."""
        return self._ended

    def put(self, output: Output) -> None:
        """Called by the worker's thread."""
        self._outputs.put(output)

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when there is something to take: now, and by the worker's thread."""
        self._listener = listener
        listener()

    def notify(self) -> None:
        """Called by the worker's thread after some puts."""
        self._listener()

    def take(self) -> list[Output]:
        """What is there, without waiting for more; nothing if it has ended.

        Raises:
            What `next` raises, but not before all else was taken.
        """
        taken: list[Output] = []
        while not self._ended and not self._outputs.empty():
            output = self._outputs.get()
            self._ended = output is None or isinstance(output, Finished | Failed)
            if isinstance(output, Failed):
                if not taken:
                    raise output.error
                self._ended = False
                self._outputs.put(output)
                break
            if output is not None:
                taken.append(output)
        return taken

    def __iter__(self) -> Iterator[Output]:
        return self

    def __next__(self) -> Output:
        output = None if self._ended else self._outputs.get()
        if output is None:
            raise StopIteration
        if isinstance(output, Finished | Failed):
            self._ended = True
        if isinstance(output, Failed):
            raise output.error
        return output

    def close(self) -> None:
        """Abort the request unless it has ended; does not wait. Idempotent."""
        if not self._ended:
            self._ended = True
            self._worker.abort(self._request)
            self._outputs.put(None)  # somebody may be waiting for the next one


class Worker:
    """Drives an Engine in a thread of its own.

    In an idle moment it has the engine read what it wrote, where that will be needed, and keep what
    was read: whoever kills the process later does not lose it. `idle_seconds` make such a moment.
    """

    def __init__(self, engine: Engine, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._engine = engine
        self._idle_seconds = idle_seconds
        self._unkept = False  # since the last step
        self._inbox: SimpleQueue[_Command] = SimpleQueue()
        self._lock = threading.Lock()  # guards the three below
        self._streams: dict[int, OutputStream] = {}
        self._calls: set[Future[Any]] = set()
        self._stopped: EngineStopped | None = None
        self._step_begun: float | None = None
        self._numbers = count()
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> EngineStopped | None:
        """Why nothing is computed any more; None while it is."""
        return self._stopped

    def stepping_for(self) -> float:
        """Seconds that the step in work has taken so far; 0 while there is none."""
        begun = self._step_begun
        return 0.0 if begun is None else time.monotonic() - begun

    def submit(
        self,
        prompt: Prompt,
        params: SamplingParams,
        constraint: Constraint | None = None,
        *,
        speculate: bool = True,
    ) -> OutputStream:
        """Queue a request; the constraint is not to be used by anybody else afterwards.

        `speculate` False has nothing guessed ahead, whatever would pay.

        Raises:
            RequestError: it could never be computed.
            EngineStopped: nothing is computed any more.
        """
        self._engine.check(prompt, params)
        with self._lock:
            if self._stopped is not None:
                raise self._stopped.with_traceback(None)  # or it grows with each request
            request = next(self._numbers)
            stream = self._streams[request] = OutputStream(self, request)
        self._inbox.put(_Add(request, prompt, params, constraint, speculate))
        return stream

    def abort(self, request: int) -> None:
        """End a request, without waiting; a batch in work is finished only if it is for others, too."""
        self._inbox.put(_Abort(request))
        self._engine.give_up((request,))

    def call(self, function: Callable[[], T]) -> T:
        """Run the function in the engine's thread, between two batches, and wait for its result.

        What uses the model's memory is safe there. Requests wait meanwhile.

        Raises:
            EngineStopped: nothing is computed any more.
            Whatever the function raises, which leaves the engine as it is.
        """
        result: Future[T] = Future()
        with self._lock:
            if self._stopped is not None:
                raise self._stopped
            self._calls.add(result)
        self._inbox.put(_Call(lambda: _settle(result, function)))
        try:
            return result.result()
        finally:
            with self._lock:
                self._calls.discard(result)

    def close(self) -> None:
        """End every request and the thread; no batch in work is finished."""
        self._inbox.put(_Stop())
        with self._lock:
            live = tuple(self._streams)
        self._engine.give_up(live)
        self._thread.join()

    def _loop(self) -> None:
        try:
            while self._obey():
                self._step_begun = time.monotonic()
                outputs = self._engine.step()
                self._step_begun = None
                self._dispatch(outputs)
                self._unkept = True
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may be left waiting
            self._shut(EngineStopped(f"{type(error).__name__}: {error}"))
        else:
            self._shut(EngineStopped())
            self._engine.keep(closing=True)
        finally:
            self._engine.close()

    def _obey(self) -> bool:
        """Carry out what was asked, waiting for it while idle; False to stop."""
        while not self._inbox.empty() or not self._engine.has_work:
            match self._next():
                case _Add(request, prompt, params, constraint, speculate):
                    self._engine.add(request, prompt, params, constraint, speculate=speculate)
                case _Abort(request):
                    self._engine.abort(request)
                    with self._lock:
                        self._streams.pop(request, None)
                case _Call(run):
                    run()
                case _Stop():
                    return False
        return True

    def _next(self) -> _Command:
        """What was asked, as soon as it is."""
        wait = self._idle_seconds
        while self._unkept:
            try:
                return self._inbox.get(timeout=wait)
            except Empty:
                wait = self._use_idle_moment()
        return self._inbox.get()

    def _use_idle_moment(self) -> float:
        """Prepare for what may come; how long to wait until more of it is done."""
        self._step_begun = time.monotonic()
        has_read = self._engine.read_again()
        self._step_begun = None
        if has_read:
            return 0
        self._unkept = self._engine.keep()
        return self._idle_seconds

    def _dispatch(self, outputs: list[tuple[int, Output]]) -> None:
        told: dict[int, OutputStream] = {}
        for request, output in outputs:
            with self._lock:
                ended = isinstance(output, Finished | Failed)
                stream = self._streams.pop(request) if ended else self._streams[request]
            stream.put(output)
            told[request] = stream
        for stream in told.values():
            stream.notify()

    def _shut(self, reason: EngineStopped) -> None:
        with self._lock:
            self._stopped = reason
            streams, self._streams = self._streams, {}
            calls = [call for call in self._calls if not call.done()]
        for stream in streams.values():
            stream.put(Failed(reason))
            stream.notify()
        for call in calls:
            call.set_exception(reason)


def _nobody() -> None:
    """Listens to a stream that is read by waiting."""


def _settle(result: Future[T], function: Callable[[], T]) -> None:
    try:
        result.set_result(function())
    except Exception as error:  # noqa: BLE001 - it is the caller's, who waits for it
        result.set_exception(error)
