"""Computing in another process: requests go there, outputs come back, and its end is nobody else's.

One thread listens for as long as there is something to hear. When the process ends without having
been told to, every running request fails with the reason, and the thread waits until all workers
answer again and loads the model anew, with the same layers in the same places.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from mistral_small_edge.engine.outputs import Failed, Finished, Output
from mistral_small_edge.engine.worker import OutputStream
from mistral_small_edge.errors import (
    EdgeError,
    EngineLoading,
    EngineStopped,
    WorkerError,
    WorkerLost,
)
from mistral_small_edge.gguf import read_header
from mistral_small_edge.host import peak_memory
from mistral_small_edge.llama.model import load_vocabulary
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from mistral_small_edge.llm.apart.messages import Abort, Call, Outputs, Raised, Returned, Stop
from mistral_small_edge.llm.apart.process import EngineProcess
from mistral_small_edge.llm.loading import Facts, Loaded, Order
from mistral_small_edge.llm.setup import choose_dialect
from mistral_small_edge.store.catalog import resolve
from mistral_small_edge.workers import look_at_all, parse_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.engine.prompt import Prompt
    from mistral_small_edge.llama.bare_loop import BareTimes
    from mistral_small_edge.llm.apart.messages import Method
    from mistral_small_edge.llm.computing import Computing, Wanted
    from mistral_small_edge.sampling_params import SamplingParams

logger = logging.getLogger("mistral_small_edge.llm.apart")

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 15.0  # seconds between attempts to come back
_TO_CLOSE = 60.0  # seconds; a large context takes some to be written


def load_apart(
    order: Order,
    on_progress: Callable[[float], None] | None,
    on_trial: Callable[[float], None] | None,
) -> Loaded[Computing]:
    """What `LLM.load` says, with the engine in another process, and only the vocabulary in this one."""
    file = resolve(order.model)
    header = read_header(file.path)
    workers = parse_workers(order.config.workers)
    order = replace(order, config=replace(order.config, workers=tuple(map(str, workers))))
    with ExitStack() as held:
        process = EngineProcess()
        held.callback(process.kill)
        facts = _load(process, order, on_progress, on_trial)
        vocabulary = load_vocabulary(file.path)
        held.callback(vocabulary.close)
        tokenizer = LlamaTokenizer(vocabulary)
        dialect = choose_dialect(file.path, header.chat_template, tokenizer)
        computing = Apart(process, replace(order, anew=False, shares=facts.options.workers))
        return Loaded(facts, tokenizer, dialect, computing, held.pop_all())


def _load(
    process: EngineProcess,
    order: Order,
    on_progress: Callable[[float], None] | None,
    on_trial: Callable[[float], None] | None,
) -> Facts:
    """Have the model loaded there. Whatever is raised, the process has ended.

    Raises:
        EdgeError: it could not be.
        What the callbacks raise.
    """
    try:
        facts = process.load(order, on_progress, on_trial)
    except BaseException:
        process.end()
        raise
    if facts is None:
        raise _why(process, order)
    return facts


class Apart:
    """An engine in another process, that comes back when it was lost.

    Args:
        process: one that has loaded the model.
        order: how to have it loaded once more.
    """

    def __init__(self, process: EngineProcess, order: Order) -> None:
        self._process = process
        self._order = order
        self._closing = threading.Event()
        self._numbers = count()
        self._lock = threading.Lock()  # guards the three below
        self._streams: dict[int, OutputStream] = {}
        self._calls: dict[int, Future[object]] = {}
        self._interruption: EdgeError | None = None
        self._thread = threading.Thread(target=self._stay, name="apart", daemon=True)
        self._thread.start()

    @property
    def interruption(self) -> EdgeError | None:
        """Why nothing can be computed now; None while it can."""
        return self._interruption

    def submit(
        self, prompt: Prompt, params: SamplingParams, wanted: Wanted, *, speculate: bool
    ) -> OutputStream:
        """As of Computing."""
        number = next(self._numbers)
        stream = OutputStream(self, number)
        with self._lock:
            self._streams[number] = stream
        try:
            self._call(number, "submit", prompt, params, wanted, speculate)
        except BaseException:
            self.abort(number)
            raise
        return stream

    def abort(self, request: int) -> None:
        """End a request; it does not wait."""
        with self._lock:
            self._streams.pop(request, None)
        self._process.tell(Abort(request))

    def time_bare_loop(
        self, prompt: tuple[int, ...], params: SamplingParams, tokens: int, threads: int
    ) -> BareTimes:
        """As of Computing."""
        number = next(self._numbers)
        times = self._call(number, "time_bare_loop", prompt, params, tokens, threads)
        return cast("BareTimes", times)

    def keep_threads(self, count: int) -> None:
        """As of Computing."""
        self._call(next(self._numbers), "keep_threads", count)

    def peak_memory(self) -> int:
        """As of Computing: of both processes."""
        there = self._call(next(self._numbers), "peak_memory")
        return peak_memory() + cast("int", there)

    def close(self) -> None:
        """End every request and the process, which keeps first what it has read."""
        self._closing.set()
        self._process.tell(Stop())
        self._thread.join(_TO_CLOSE)
        self._process.kill()
        self._thread.join()

    def _call(self, number: int, method: Method, *arguments: object) -> object:
        result: Future[object] = Future()
        with self._lock:
            if self._interruption is not None:
                raise self._interruption.with_traceback(None)  # or it grows with each request
            self._calls[number] = result
        self._process.tell(Call(number, method, arguments))
        return result.result()

    def _stay(self) -> None:
        """The thread: listen, and after an end that was not asked for, come back."""
        while True:
            self._listen()
            if self._closing.is_set():
                self._process.end(_TO_CLOSE)
                break
            why = _why(self._process, self._order)
            logger.warning("%s", why)
            self._interrupt(why)
            if not self._come_back():
                break
        self._interrupt(EngineStopped())

    def _listen(self) -> None:
        """Pass on what the process says, until it has ended."""
        while True:
            match self._process.listen():
                case Outputs(number, outputs):
                    self._put(number, outputs)
                case Returned(number, value):
                    self._taken(number).set_result(value)
                case Raised(number, error):
                    self._taken(number).set_exception(error)
                case None:
                    return

    def _put(self, number: int, outputs: tuple[Output, ...]) -> None:
        ended = any(isinstance(output, Finished | Failed) for output in outputs)
        with self._lock:
            stream = self._streams.get(number)
            if ended:
                self._streams.pop(number, None)
        if stream is not None:  # nobody has given it up
            for output in outputs:
                stream.put(output)
            stream.notify()

    def _taken(self, number: int) -> Future[Any]:
        with self._lock:
            return self._calls.pop(number)

    def _interrupt(self, why: EdgeError) -> None:
        """From now on nothing can be computed; who waits is told."""
        with self._lock:
            self._interruption = why
            streams, self._streams = self._streams, {}
            calls, self._calls = self._calls, {}
        for call in calls.values():
            call.set_exception(why)
        for number, stream in streams.items():
            if number not in calls:  # or `submit` raises it
                stream.put(Failed(why))
                stream.notify()

    def _come_back(self) -> bool:
        """Try until the model is loaded again; False if it is not wanted any more."""
        wait = _FIRST_WAIT
        while not self._closing.wait(wait):
            wait = min(2 * wait, _LONGEST_WAIT)
            missing = _missing(self._order)
            if missing is not None:
                self._interruption = missing
                continue
            self._interruption = EngineLoading()
            try:
                self._process = EngineProcess()
                _load(self._process, self._order, self._check, self._check)
            except (EdgeError, OSError) as error:
                own = error if isinstance(error, EdgeError) else EngineStopped(str(error))
                self._interruption = own
                logger.warning("it was not loaded again: %s", own)
            else:
                self._interruption = None
                logger.warning("the model is there again")
                if self._closing.is_set():  # what was told to stop was the one before
                    self._process.tell(Stop())
                return True
        return False

    def _check(self, _done: float) -> None:
        if self._closing.is_set():
            raise EngineStopped


def _why(process: EngineProcess, order: Order) -> EdgeError:
    """What a process has ended of that was not told to: a worker, if one is to blame."""
    died = process.end(_TO_CLOSE)
    said = process.last_words
    if said is not None and said.workers:
        return WorkerLost(" and ".join(said.workers), "the connection broke")
    return _missing(order) or died


def _missing(order: Order) -> WorkerLost | None:
    """The first worker that is of no use now, if one is."""
    found = look_at_all(parse_workers(order.config.workers))
    lost = next((one for one in found if isinstance(one, WorkerError)), None)
    return None if lost is None else WorkerLost(lost.worker, lost.reason)
