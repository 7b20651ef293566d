"""Counts and times for Prometheus; no prompt and no name is among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.chat.deltas import Finish
    from mistral_small_edge.server.admission import Admission

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """One server's figures, in a registry of their own; `ready` says whether it can compute."""

    def __init__(self, admission: Admission, ready: Callable[[], bool]) -> None:
        self._registry = CollectorRegistry()
        prefix = "mistral_small_edge"
        self._responses = Counter(
            f"{prefix}_responses", "Responses begun.", ("status",), registry=self._registry
        )
        self._tokens = Counter(
            f"{prefix}_tokens", "Tokens of answered requests.", ("kind",), registry=self._registry
        )
        self._drafted = Counter(
            f"{prefix}_drafted_tokens",
            "Tokens guessed ahead; those accepted are completion tokens, too.",
            ("outcome",),
            registry=self._registry,
        )
        self._first = Histogram(
            f"{prefix}_time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._decode = Histogram(
            f"{prefix}_decode_seconds",
            "Writing an answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._watch("ready", "1 if answers can be computed.", ready)
        self._watch("slots", "Answers computed at a time.", lambda: admission.slots)
        self._watch("slots_free", "Slots without an answer.", lambda: admission.free_slots)
        self._watch("answers_running", "In a slot.", lambda: admission.running - admission.waiting)
        self._watch("answers_waiting", "Without a slot.", lambda: admission.waiting)
        self._watch("max_queue", "Answers that may wait.", lambda: admission.max_queue)

    def responded(self, status: int) -> None:
        """Count a response."""
        self._responses.labels(str(status)).inc()

    def answered(self, end: Finish) -> None:
        """Count an answer that has come to its end."""
        usage = end.usage
        self._tokens.labels("prompt").inc(usage.prompt_tokens - usage.cached_tokens)
        self._tokens.labels("cached").inc(usage.cached_tokens)
        self._tokens.labels("completion").inc(usage.completion_tokens)
        self._drafted.labels("accepted").inc(usage.accepted_tokens)
        self._drafted.labels("rejected").inc(usage.drafted_tokens - usage.accepted_tokens)
        self._first.observe(end.timings.time_to_first_token)
        self._decode.observe(end.timings.decode_seconds)

    def exposition(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def _watch(self, name: str, what: str, figure: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        gauge = Gauge(f"mistral_small_edge_{name}", what, registry=self._registry)
        gauge.set_function(figure)
