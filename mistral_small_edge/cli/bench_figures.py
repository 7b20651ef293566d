"""What `bench` has measured, as tables for people and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from mistral_small_edge.cli import console
from mistral_small_edge.errors import readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.benchmark import BenchmarkReport, Depth, ThreadSweep
    from mistral_small_edge.llm import LLM


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found to be the fastest, and is remembered."""

    threads: int
    flash_attention: bool
    repack: bool

    @classmethod
    def of(cls, llm: LLM) -> Self:
        """What `llm` was loaded with."""
        return cls(llm.threads, llm.flash_attention, llm.repack)


@dataclass(frozen=True, slots=True)
class Figures:
    """The rounds, and what else was asked for."""

    report: BenchmarkReport
    sweep: ThreadSweep | None = None
    depths: Sequence[Depth] | None = None
    tuned: Tuned | None = None

    def show(self, *, as_json: bool) -> None:
        """Print them on stdout."""
        if as_json:
            console.write_json(self.as_json())
            return
        _show_report(self.report)
        if self.sweep is not None:
            _show_sweep(self.sweep)
        if self.depths is not None:
            _show_depths(self.depths)
        if self.tuned is not None:
            _show_tuned(self.tuned)

    def as_json(self) -> dict[str, object]:
        """Every figure, in seconds, bytes and tokens a second; null is what was not asked for."""
        report, sweep, depths = self.report, self.sweep, self.depths
        return {
            "model": report.model,
            "threads": report.threads,
            "prompt_tokens_per_second": report.prompt_rate,
            "time_to_first_token_seconds": report.time_to_first_token,
            "decode_tokens_per_second": report.decode_rate,
            "decode_share_of_bare_loop": report.share_of_bare,
            "inter_token_latency_seconds": {f"p{at}": gap for at, gap in report.gaps.items()},
            "memory_bytes_per_second": report.bandwidth,
            "memory_bytes_per_token": report.step_bytes,
            "decode_share_of_memory_bound": report.share_of_bound,
            "mask_seconds_per_token": report.mask_time,
            "peak_memory_bytes": report.peak_memory,
            "rounds": [asdict(one) for one in report.rounds],
            "thread_sweep": None if sweep is None else _sweep_as_json(sweep),
            "depths": None if depths is None else [asdict(one) for one in depths],
            "tuned": None if self.tuned is None else asdict(self.tuned),
        }


def _show_report(report: BenchmarkReport) -> None:
    first = report.rounds[0]
    gaps = " / ".join(f"{1e3 * gap:.1f}" for gap in report.gaps.values())
    names = " / ".join(f"p{percent}" for percent in report.gaps)
    rows = [
        ("reading", f"{report.prompt_rate:.1f} tok/s ({first.prompt_tokens} tokens)"),
        ("first token after", f"{report.time_to_first_token:.2f} s"),
        ("writing", f"{report.decode_rate:.1f} tok/s"),
        ("  of a bare loop", f"{report.share_of_bare:.3f}"),
        ("  of memory's bound", _bound(report)),
        ("between tokens", f"{gaps} ms ({names})" if gaps else "no text came"),
        ("a schema's mask", f"{report.mask_time * 1e6:.0f} µs a token"),
        ("peak memory", f"{report.peak_memory / 10**6:.0f} MB"),
    ]
    console.write_table((report.model, f"median of {len(report.rounds)}"), rows)


def _bound(report: BenchmarkReport) -> str:
    read, speed = readable_size(round(report.step_bytes)), readable_size(round(report.bandwidth))
    if report.share_of_bound is None:
        return f"not known: workers have read some of the {read} a token"
    return f"{report.share_of_bound:.3f} ({read} a token, {speed}/s)"


def _show_sweep(sweep: ThreadSweep) -> None:
    console.write_line("")
    rows = [
        (str(one.threads), f"{one.prompt_rate:.1f} tok/s", f"{one.decode_rate:.1f} tok/s")
        for one in sweep.speeds
    ]
    console.write_table(("threads", "reading", "writing"), rows)
    console.write_line(
        f"best: {_option(sweep)} (writing: {sweep.best_for_decode}, reading: "
        f"{sweep.best_for_prompts})"
    )


def _show_depths(depths: Sequence[Depth]) -> None:
    console.write_line("")
    rows = [
        (
            f"{one.position:,}",
            "" if one.prompt_seconds is None else f"{1e3 * one.prompt_seconds:.2f} ms a token",
            f"{1e3 * one.decode_seconds:.2f} ms a token",
        )
        for one in depths
    ]
    console.write_table(("context", "reading up to it", "writing behind it"), rows)


def _show_tuned(tuned: Tuned) -> None:
    console.write_line("")
    console.write_line(
        f"remembered: {tuned.threads} thread{'s' * (tuned.threads > 1)}, attention "
        f"{'by tiles (--flash-attention on)' if tuned.flash_attention else 'whole'}, weights "
        f"{'laid out anew' if tuned.repack else 'as the file has them (--repack off)'}"
    )


def _sweep_as_json(sweep: ThreadSweep) -> dict[str, object]:
    return {
        "speeds": [asdict(one) for one in sweep.speeds],
        "best_for_decode": sweep.best_for_decode,
        "best_for_prompts": sweep.best_for_prompts,
        "option": _option(sweep),
    }


def _option(sweep: ThreadSweep) -> str:
    """What to type: one number is for both, and most of an answer's time goes into writing it."""
    return f"--threads {sweep.best_for_decode}"
