"""`bench`: what this machine does with a model, and what we cost of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli import console, options
from mistral_small_edge.cli.loading import load
from mistral_small_edge.config import DEFAULT_MODEL, EngineConfig

if TYPE_CHECKING:
    from mistral_small_edge.benchmark import BenchmarkReport

_DEFAULTS = EngineConfig()


def bench(
    model: options.Model = DEFAULT_MODEL,
    rounds: Annotated[int, typer.Option(help="Measured rounds, after one to warm up.")] = 5,
    tokens: Annotated[int, typer.Option(help="Tokens written each round.")] = 128,
    sentences: Annotated[
        int, typer.Option(help="Sentences read each round, about 16 tokens each.")
    ] = 24,
    context: options.Context = _DEFAULTS.context_length,
    threads: options.Threads = _DEFAULTS.threads,
    gpu_layers: options.GpuLayers = _DEFAULTS.gpu_layers,
    kv_type: options.KV = _DEFAULTS.kv_type,
    flash_attention: options.Flash = _DEFAULTS.flash_attention,
    mlock: options.Mlock = _DEFAULTS.mlock,
    force: options.Force = _DEFAULTS.force,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every round and the medians as JSON.")
    ] = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure reading and writing speed, beside a bare llama.cpp loop over the same weights.

    Each round runs both, one after the other; medians are shown. The bare loop does nothing but
    decode and sample: the ratio to it is what this program costs.
    """
    from mistral_small_edge.benchmark import Workload, measure

    workload = Workload(rounds=rounds, sentences=sentences, tokens=tokens)
    config = EngineConfig(
        context_length=context,
        threads=threads,
        gpu_layers=gpu_layers,
        kv_type=kv_type,
        flash_attention=flash_attention,
        mlock=mlock,
        force=force,
    )
    with load(model, config, verbose) as llm, console.progress("Measuring", "percent") as bar:
        report = measure(llm, workload, lambda done: bar.update(100 * done // rounds, 100))
    if as_json:
        console.write_json(_as_json(report))
    else:
        _print(report)


def _print(report: BenchmarkReport) -> None:
    first = report.rounds[0]
    rows = [
        ("reading", f"{report.prompt_rate:.1f} tok/s ({first.prompt_tokens} tokens)"),
        ("first token after", f"{report.time_to_first_token:.2f} s"),
        ("writing", f"{report.decode_rate:.1f} tok/s"),
        ("  of a bare loop", f"{report.share_of_bare:.3f}"),
        ("a schema's mask", f"{report.mask_time * 1e6:.0f} µs a token"),
        ("peak memory", f"{report.peak_memory / 10**6:.0f} MB"),
    ]
    console.write_table((report.model, f"median of {len(report.rounds)}"), rows)


def _as_json(report: BenchmarkReport) -> dict[str, object]:
    return {
        "model": report.model,
        "prompt_tokens_per_second": report.prompt_rate,
        "time_to_first_token_seconds": report.time_to_first_token,
        "decode_tokens_per_second": report.decode_rate,
        "decode_share_of_bare_loop": report.share_of_bare,
        "mask_seconds_per_token": report.mask_time,
        "peak_memory_bytes": report.peak_memory,
        "rounds": [asdict(one) for one in report.rounds],
    }
