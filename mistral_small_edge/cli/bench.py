"""`bench`: what this machine does with a model, and what we cost of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli import console, options
from mistral_small_edge.cli.bench_figures import Figures, Tuned
from mistral_small_edge.cli.engine_options import ComputeOptions, spelled_out
from mistral_small_edge.cli.loading import load
from mistral_small_edge.config import DEFAULT_MODEL, Speculation
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.benchmark import Workload
    from mistral_small_edge.llm import LLM

_ENGINE = ComputeOptions()
_SPECULATION: Speculation = "off"


@spelled_out
def bench(
    model: options.Model = DEFAULT_MODEL,
    rounds: Annotated[int, typer.Option(help="Measured rounds, after one to warm up.")] = 5,
    tokens: Annotated[int, typer.Option(help="Tokens written each round.")] = 128,
    sentences: Annotated[
        int, typer.Option(help="Sentences read each round, about 16 tokens each.")
    ] = 24,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Also try every number of threads, and recommend one."),
    ] = False,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Also find out anew what is fastest here (threads, attention, the layout of weights), "
            "and remember it for every command that leaves it open.",
        ),
    ] = False,
    depth: Annotated[
        bool,
        typer.Option(
            "--depth",
            help="Also fill the context, and tell what a token costs the more there is in it.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw what --depth finds: a .png, .svg or .pdf. Needs the extra `plot`.",
            show_default="not drawn",
        ),
    ] = None,
    speculation: Annotated[
        Speculation,
        typer.Option(
            "--speculation",
            help="auto guesses ahead, as ask does; the bare loop does not, so that the ratio to it "
            "tells what this program costs only if it is off.",
        ),
    ] = _SPECULATION,
    engine: ComputeOptions = _ENGINE,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every round and the medians as JSON.")
    ] = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure reading and writing speed, beside a bare llama.cpp loop over the same weights.

    Each round runs both, one after the other, and reads memory for a moment; medians are shown. The
    bare loop does nothing but decode and sample: the ratio to it is what this program costs. Memory
    bounds how soon a token can be written: its weights have to be read.
    """
    from mistral_small_edge.benchmark import Workload

    workload = Workload(rounds=rounds, sentences=sentences, tokens=tokens)
    config = replace(engine.config(), speculation=speculation)
    if plot is not None:
        from mistral_small_edge.benchmark.plot import check

        check(plot)
    if tune and engine.threads is not None:
        raise InvalidRequest("--tune is to find what --threads says: give one of them", "--tune")
    with load(model, config, verbose, try_again=tune) as llm:
        figures = _measure(llm, workload, sweep=sweep or tune, depth=depth or plot is not None)
        threads = llm.threads
        if tune and figures.sweep is not None:
            threads = figures.sweep.best_for_decode
            llm.keep_threads(threads)
    if tune:  # all else was found with as many threads as were the fastest before
        has_changed = threads != llm.threads
        with load(model, replace(config, threads=threads), verbose, try_again=has_changed) as llm:
            figures = replace(figures, tuned=Tuned.of(llm))
    figures.show(as_json=as_json)
    if plot is not None:
        _draw(plot, figures)


def _measure(llm: LLM, workload: Workload, *, sweep: bool, depth: bool) -> Figures:
    from mistral_small_edge import benchmark
    from mistral_small_edge.host import probe_host

    # What cannot be measured is refused before anybody has waited for the rest.
    positions = benchmark.depths_of(llm.context_length) if depth else ()
    counts = benchmark.thread_counts(probe_host()) if sweep else ()
    with console.progress("Measuring", "percent") as bar:

        def shown(what: str, done: int, total: int) -> None:
            bar.update(100 * done // total, 100, what)

        report = benchmark.measure(
            llm, workload, lambda done: shown("Measuring", done, workload.rounds)
        )
        speeds = depths = None
        if counts:
            speeds = benchmark.sweep_threads(
                llm, counts, workload.rounds, lambda done, all_: shown("Trying threads", done, all_)
            )
        if positions:
            depths = benchmark.measure_depths(
                llm, positions, lambda done, all_: shown("Filling the context", done, all_)
            )
    return Figures(report, speeds, depths)


def _draw(path: Path, figures: Figures) -> None:
    from mistral_small_edge.benchmark.plot import draw

    report = figures.report
    title = f"{report.model}, {report.threads} thread{'s' * (report.threads > 1)}"
    draw(path, title, figures.depths or (), report.bandwidth)
    console.note(f"Drawn: {path}")
