"""Loading a model with something to look at meanwhile, and the say over llama.cpp's log.

Shared by every command that computes. The log arrives on a logger of the standard library; here it
is decided whether a person sees it.
"""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from mistral_small_edge.cli import console, interrupts

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.llm import LLM


def load(model: str, config: EngineConfig, verbose: bool, *, try_again: bool = False) -> LLM:
    """Load `model` behind a bar on stderr, or under llama.cpp's own log if `verbose`.

    Args:
        try_again: as of `LLM.load`.

    Raises:
        ModelError: it is not there, or not fit to be loaded.
        KeyboardInterrupt: the user did not want to wait.
    """
    from mistral_small_edge.llm import LLM

    model = settle(model, config)
    route_log(verbose)
    with _bar(model, verbose) as bar, interrupts.held() as check:

        def advance(fraction: float) -> None:
            check()
            bar.update(round(100 * fraction), 100)

        def tried(fraction: float) -> None:
            check()
            bar.update(round(100 * fraction), 100, "Trying this machine, once")

        llm = LLM.load(model, config, on_progress=advance, on_trial=tried, try_again=try_again)
    if verbose:
        console.note(_choices(llm))
    return llm


def settle(model: str, config: EngineConfig) -> str:
    """The model with its build, told on stderr if that was open and is not the usual one.

    Raises:
        ModelNotFound, InvalidRequest, ModelLoadFailed: it means nothing, or a damaged file.
    """
    from mistral_small_edge.cli.planning import settled

    name, reason = settled(model, config)
    if reason:
        console.note(f"Taking {name}: {reason}.")
    return name


def _choices(llm: LLM) -> str:
    """What was left open, and how it was decided."""
    flash = "on: less memory, coarser" if llm.flash_attention else "off: exact"
    return (
        f"flash attention {flash}; KV cache {llm.kv_type}; threads {llm.threads}; "
        f"context {llm.context_length}; images {'yes' if llm.sees else 'no'}{elsewhere(llm)}"
    )


def elsewhere(llm: LLM) -> str:
    """Which layers are computed where, to go on behind other choices; nothing if all are here."""
    return "".join(
        f"; {share.layers} layer{'s' * (share.layers > 1)} on {share.address}"
        for share in llm.workers
    )


def _bar(model: str, verbose: bool) -> AbstractContextManager[console.Bar]:
    if verbose:  # the log says more than a bar, and would tear it
        return nullcontext(console.Bar())
    return console.progress(f"Loading {model}", "percent")


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.note(record.getMessage())


def tell_of_interruptions() -> None:
    """Have it told on stderr when a worker is lost, and when the model is there again."""
    logger = logging.getLogger("mistral_small_edge.llm.apart")
    logger.handlers[:] = [_Teller(logging.WARNING)]


def route_log(verbose: bool) -> None:
    """llama.cpp's log, and our own, go to stderr if `verbose`, nowhere otherwise. Idempotent."""
    # Without any handler the standard library would print warnings itself.
    handler = logging.StreamHandler(sys.stderr) if verbose else logging.NullHandler()
    for room in ("llama", "engine", "llm"):
        logger = logging.getLogger(f"mistral_small_edge.{room}")
        logger.handlers[:] = [handler]
        logger.setLevel(logging.DEBUG if verbose else logging.NOTSET)
