"""`quantize`: a model's file in smaller numbers, by llama.cpp's own quantizer, and what that has cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli import console, interrupts, options
from mistral_small_edge.cli.loading import load, route_log
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import EdgeError, readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer.models import OptionInfo

    from mistral_small_edge.quantization import Agreement, Contents, Job, Score


def _format(of: str) -> OptionInfo:
    option: OptionInfo = typer.Option(
        metavar="FORMAT", help=f"{of}: F16, Q8_0, Q6_K …", show_default="the type's"
    )
    return option


@dataclass(frozen=True, slots=True)
class _Reading:
    """How source and result read the same text."""

    before: Score
    after: Score
    agreement: Agreement


def quantize(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A .gguf file, a catalog name, or hf:owner/repo/file.gguf."
        ),
    ],
    type_: Annotated[
        str, typer.Argument(metavar="TYPE", help="Q4_K_M, Q8_0, IQ4_XS …; a wrong one lists all.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where the result goes.",
            show_default="here, named as the source with the type's name",
        ),
    ] = None,
    imatrix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An importance matrix of this model (.gguf or .dat): less is lost; the smallest types need one.",
            show_default="none",
        ),
    ] = None,
    pure: Annotated[
        bool, typer.Option("--pure", help="Every matrix in one format; none is spared.")
    ] = False,
    output_format: Annotated[str | None, _format("Of the last matrix")] = None,
    embedding_format: Annotated[str | None, _format("Of the first matrix")] = None,
    requantize: Annotated[
        bool,
        typer.Option("--requantize", help="Take a source that is quantized already; more is lost."),
    ] = False,
    threads: options.Threads = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not let source and result read a text.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print figures as one JSON object.")
    ] = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a model's file in smaller numbers, and compare both.

    The result is written aside, checked (tensors, shapes, metadata) and only then put in its place.
    Then source and result read a short text, if memory holds them: perplexity, and how alike they
    expect each next token. Projectors can be quantized, too.
    """
    from mistral_small_edge.host import choose_threads, probe_host
    from mistral_small_edge.quantization import Wishes, find_format, find_recipe, plan, run
    from mistral_small_edge.store.catalog import resolve

    wishes = Wishes(
        recipe=find_recipe(type_),
        threads=choose_threads(probe_host()) if threads is None else threads,
        imatrix=imatrix,
        pure=pure,
        requantize=requantize,
        output_format=output_format and find_format(output_format, "output_format"),
        embedding_format=embedding_format and find_format(embedding_format, "embedding_format"),
    )
    job = plan(resolve(source).path, output, wishes, replace=force)
    _tell(job)
    route_log(verbose)
    with console.progress("Quantizing", "bytes") as bar, interrupts.once():
        written = run(job, lambda done, total: bar.update(done, total))
    console.note(f"{job.target}: whole; tensors, shapes and metadata are the source's")
    read = None if no_check else _measure(job, verbose)
    if as_json:
        console.write_json(_object(job, written, read))
    else:
        console.write_table(("", "before", "after"), _rows(job.source, written, read))


def _tell(job: Job) -> None:
    """What a person should know before an hour goes by."""
    if job.is_quantized:
        console.note(
            "the source is quantized already: what that lost does not come back, and some more goes"
        )
    if job.unweighted:
        console.note(
            f"the importance matrix does not know {len(job.unweighted)} of the matrices, "
            f"{job.unweighted[0]} for one; they are quantized without it"
        )
    size, expected = readable_size(job.source.file_size), readable_size(job.expected_bytes)
    console.note(f"{size} become about {expected} in {job.target}")


def _measure(job: Job, verbose: bool) -> _Reading | None:
    """Let both read the text; None, and a word why, where that cannot be."""
    from mistral_small_edge.quantization import agreement

    context_length, threads = job.source.context_length, job.wishes.threads
    if context_length is None:
        console.note("a projector reads no text: it was not measured")
        return None
    try:
        first = _score(job.source.path, context_length, threads, verbose)
    except EdgeError as error:  # too large for this machine, for one
        console.note(f"not measured: {error}")
        return None
    second = _score(job.target, context_length, threads, verbose)
    alike = agreement(first, second)
    console.note(
        f"over {len(first.read)} tokens of a text: the same likeliest token in "
        f"{alike.same_first:.1%} of the places, divergence {alike.divergence:.4f} nats a token"
    )
    return _Reading(first, second, alike)


def _score(path: Path, context_length: int, threads: int, verbose: bool) -> Score:
    from mistral_small_edge.quantization import score
    from mistral_small_edge.quantization.score import TOKENS

    config = EngineConfig(
        context_length=min(TOKENS, context_length),
        threads=threads,
        flash_attention="off",
        repack="off",
        speculation="off",
        vision=False,
    )
    with load(str(path), config, verbose) as llm:
        return score(llm)


def _rows(before: Contents, after: Contents, read: _Reading | None) -> Sequence[Sequence[str]]:
    rows = [
        ("size", readable_size(before.file_size), readable_size(after.file_size)),
        ("bits a weight", f"{before.bits_a_weight:.2f}", f"{after.bits_a_weight:.2f}"),
        ("matrices", _mix(before), _mix(after)),
    ]
    if read is not None:
        rows.append(("perplexity", f"{read.before.perplexity:.3f}", f"{read.after.perplexity:.3f}"))
    return rows


def _mix(contents: Contents) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in contents.formats.items())


def _object(job: Job, after: Contents, read: _Reading | None) -> dict[str, object]:
    return {
        "type": job.wishes.recipe.name,
        "before": _figures(job.source, job.source.path, None if read is None else read.before),
        "after": _figures(after, job.target, None if read is None else read.after),
        "tokens_read": None if read is None else len(read.before.read),
        "same_first": None if read is None else read.agreement.same_first,
        "divergence": None if read is None else read.agreement.divergence,
    }


def _figures(contents: Contents, path: Path, score: Score | None) -> dict[str, object]:
    return {
        "path": str(path),
        "bytes": contents.file_size,
        "bits_a_weight": contents.bits_a_weight,
        "matrices": dict(contents.formats),
        "perplexity": None if score is None else score.perplexity,
    }
