"""`batch`: a file of requests answered without a server, and gone on with after whatever stopped it."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli import console, failures, interrupts, options, stdin
from mistral_small_edge.cli.engine_options import AnswerOptions, spelled_out
from mistral_small_edge.cli.loading import load
from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from mistral_small_edge.batch.requests import BatchRequest, RequestFile
    from mistral_small_edge.batch.results import Result
    from mistral_small_edge.batch.tally import Tally
    from mistral_small_edge.config import EngineConfig

_ENGINE = AnswerOptions()
_PATIENCE = 15.0  # seconds between two tokens: nobody looks on
_STREAM = "-"  # stdin, stdout

Requests = Annotated[
    str,
    typer.Argument(
        metavar="REQUESTS",
        help='Lines of {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": '
        "{...}}; - reads them from stdin.",
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where the results go, in the order of the requests; - prints each as it ends.",
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Do again what failed; its requests may have been mended."),
]
ImageUrls = Annotated[
    bool,
    typer.Option(
        "--allow-image-urls",
        help="Fetch pictures from public http(s) addresses; without it requests bring them along.",
    ),
]
ImageCache = Annotated[Path | None, options.image_cache("in memory only")]
PromptCache = Annotated[Path | None, options.prompt_cache("in memory only")]


@spelled_out
def batch(
    requests: Requests,
    output: Output,
    model: options.Model = DEFAULT_MODEL,
    retry_failed: RetryFailed = False,
    slots: options.Slots = options.SLOTS,
    at_once: options.AllAtOnce = None,
    alias: options.Alias = None,
    allow_image_urls: ImageUrls = False,
    compute: AnswerOptions = _ENGINE,
    image_cache: ImageCache = None,
    prompt_cache: PromptCache = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was done as one JSON object.")
    ] = False,
    verbose: options.Verbose = False,
) -> None:
    """Answer a file of requests in OpenAI's batch format, as many at a time as there are slots.

    Stopped at any moment, the same command goes on where it was. Exit codes: 0 all answered,
    1 some failed, 2 wrong usage, 130 interrupted.
    """
    if output == _STREAM:
        _refuse_with_stdout(as_json=as_json, retry_failed=retry_failed)
    config = replace(
        compute.config(),
        max_sequences=slots,
        at_once=slots if at_once is None else at_once,
        prefill_seconds=_PATIENCE,
        image_cache=image_cache,
        prompt_cache=prompt_cache,
    )
    work = _Work(model, config, tuple(alias or ()), allow_image_urls, verbose)
    with _requests(requests) as file:
        if output == _STREAM:
            outcome = _onto_stdout(file, work)
        else:
            outcome = _into(Path(output), file, work, retry_failed=retry_failed)
    if as_json:
        console.write_json(outcome.json())
    console.note(outcome.sentence())
    if outcome.failed:
        if output != _STREAM:
            console.note("  Do what failed again: --retry-failed")
        raise typer.Exit(failures.FAILED)


def _refuse_with_stdout(*, as_json: bool, retry_failed: bool) -> None:
    if as_json:
        raise InvalidRequest("the results go to stdout, and --json would go there too", "--json")
    if retry_failed:
        raise InvalidRequest("on stdout there are no results of before", "--retry-failed")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the batch came to: `failed` of all `total`, `tally` of this run, None if it did nothing."""

    total: int
    failed: int
    tally: Tally | None

    def sentence(self) -> str:
        """For a person."""
        said = f"{self.total} requests: {self.total - self.failed} answered, {self.failed} failed"
        return (
            f"{said}; all had been done" if self.tally is None else f"{said}; {_pace(self.tally)}"
        )

    def json(self) -> dict[str, object]:
        """For a program; times and rates are of this run."""
        tally = self.tally
        return {
            "requests": self.total,
            "answered": self.total - self.failed,
            "failed": self.failed,
            "done_now": tally.done if tally else 0,
            "completion_tokens": tally.tokens if tally else 0,
            "seconds": tally.seconds if tally else 0.0,
            "requests_per_second": tally.requests_per_second if tally else None,
            "tokens_per_second": tally.tokens_per_second if tally else None,
        }


def _onto_stdout(file: RequestFile, work: _Work) -> _Outcome:
    total = len(file.ids)
    tally = work.run(file, lambda result: console.write(result.line.decode()), 0, total)
    return _Outcome(total, tally.failed, tally)


def _into(path: Path, file: RequestFile, work: _Work, *, retry_failed: bool) -> _Outcome:
    from mistral_small_edge.batch.journal import Journal

    total = len(file.ids)
    with Journal(path) as journal:
        journal.check(file.ids, file.name, retry_failed=retry_failed)
        pending = (request for request in file if request.custom_id not in journal)
        before = len(journal)
        try:
            tally = work.run(pending, journal.add, before, total) if before < total else None
            journal.finish(file.ids)
        except KeyboardInterrupt:
            console.note(
                f"Stopped: {len(journal)} of {total} are done, in {journal.partial}. "
                "The same command goes on from there."
            )
            raise
        return _Outcome(total, journal.num_failed, tally)


@dataclass(frozen=True, slots=True)
class _Work:
    """How requests are answered."""

    model: str
    config: EngineConfig
    aliases: tuple[str, ...]
    image_urls: bool
    verbose: bool

    def run(
        self,
        requests: Iterable[BatchRequest],
        keep: Callable[[Result], None],
        before: int,
        total: int,
    ) -> Tally:
        """Load the model, and have each result kept; `before` of all `total` were done earlier."""
        from mistral_small_edge.batch.run import run
        from mistral_small_edge.batch.tally import Tally

        with ExitStack() as held:
            held.enter_context(interrupts.once())
            llm = held.enter_context(load(self.model, self.config, self.verbose))
            bar = console.Bar()  # not over a log
            if not self.verbose:
                bar = held.enter_context(
                    console.progress("Answering", "requests", initial=before, total=total)
                )
            tally = Tally(total - before)
            results = run(llm, requests, aliases=self.aliases, image_urls=self.image_urls)
            for result in held.enter_context(closing(results)):
                keep(result)
                tally.count(result)
                bar.update(before + tally.done, total, f"Answering, {_pace(tally)}")
            tally.stop()
        return tally


def _pace(tally: Tally) -> str:
    """Rates, and the time that is left or was taken."""
    left = tally.seconds_left
    time = f"{_clock(left)} left" if left else _clock(tally.seconds)
    requests, tokens = tally.requests_per_second, tally.tokens_per_second
    return f"{_figure(requests)} requests/s, {_figure(tokens)} tokens/s, {time}"


def _figure(rate: float) -> str:
    return f"{rate:.2g}" if rate < 10 else f"{rate:.0f}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def _requests(name: str) -> Iterator[RequestFile]:
    """The requests in a file, or in a pipe, which is written aside first: it is read twice.

    Raises:
        InvalidRequest: it cannot be read, or is no file of requests.
    """
    from mistral_small_edge.batch.requests import PARAM, RequestFile

    with ExitStack() as held:
        if name == _STREAM:
            file: BinaryIO = held.enter_context(TemporaryFile())
            stdin.copy_to(file)
            name = "stdin"
        else:
            try:
                file = held.enter_context(Path(name).open("rb"))
            except OSError as error:
                raise InvalidRequest(f"{name} cannot be read: {error.strerror}", PARAM) from None
            if not file.seekable():
                piped, file = file, held.enter_context(TemporaryFile())
                shutil.copyfileobj(piped, file)
        yield RequestFile(file, name)
