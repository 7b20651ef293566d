"""Drawing an answer: what goes to stdout, and what is left when it is cut short."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.chat.deltas import (
    ChatResponse,
    Delta,
    Finish,
    Progress,
    TextDelta,
    Timings,
    Usage,
)
from mistral_small_edge.cli import answer, loading
from mistral_small_edge.errors import EngineStopped
from tests.cli.scripted_llm import ESCAPES, ScriptedStream

if TYPE_CHECKING:
    from collections.abc import Iterator

FINISH = Finish("stop", Usage(212, 57, 180), Timings(0.1, 0.4, 1.2))


def deltas(*texts: str) -> Iterator[Delta]:
    yield Progress(180, 212, 180)
    yield from map(TextDelta, texts)
    yield FINISH


@pytest.mark.parametrize(
    ("texts", "written"),
    [
        (("Hel", "", "lo"), "Hello\n"),
        (("Hello\n", ""), "Hello\n"),
        ((), "\n"),
        ((ESCAPES,), ESCAPES + "\n"),
    ],
)
def test_the_answer_alone_goes_to_stdout_and_ends_its_line(
    texts: tuple[str, ...], written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = ScriptedStream(deltas(*texts))
    assert answer.show(stream) == ChatResponse("".join(texts), "stop", FINISH.usage, FINISH.timings)
    assert capsys.readouterr() == (written, "")
    assert stream.closed == 1


def test_ctrl_c_brings_what_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Iterator[Delta]:
        yield from (TextDelta("one "), TextDelta("two"))
        signal.raise_signal(signal.SIGINT)

    stream = ScriptedStream(interrupted())
    with pytest.raises(answer.AnswerStopped) as stopped:
        answer.show(stream)
    assert stopped.value.text == "one two"
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert capsys.readouterr().out == "one two\n"
    assert stream.closed == 1


@pytest.mark.parametrize(("texts", "written"), [((), ""), (("half",), "half\n")])
def test_a_failure_begins_on_a_line_of_its_own(
    texts: tuple[str, ...], written: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> Iterator[Delta]:
        yield from map(TextDelta, texts)
        raise EngineStopped

    stream = ScriptedStream(failing())
    with pytest.raises(EngineStopped):
        answer.show(stream)
    assert capsys.readouterr().out == written
    assert stream.closed == 1


def test_what_a_terminal_would_obey_is_made_visible() -> None:
    every = "".join(map(chr, range(0x100)))
    shown = answer.printable(every)
    kept = [char for char, there in zip(every, shown, strict=True) if char == there]
    assert "".join(kept) == "\t\n" + every[0x20:0x7F] + every[0xA0:]
    assert set(shown) - set(kept) == {"\N{REPLACEMENT CHARACTER}"}


@pytest.mark.parametrize(
    ("usage", "timings", "line"),
    [
        (
            Usage(212, 57, 180),
            Timings(0.1, 0.4, 1.21),
            "212 prompt tokens (180 cached) in 0.4 s, 57 tokens in 1.2 s: 46.3 tok/s",
        ),
        (
            Usage(9, 1, 0),
            Timings(0, 0.04, 0),
            "9 prompt tokens in 0.0 s, 1 tokens in 0.0 s",
        ),
    ],
)
def test_statistics_are_one_line(usage: Usage, timings: Timings, line: str) -> None:
    assert answer.statistics(ChatResponse("", "stop", usage, timings)) == line


@pytest.fixture
def llama_log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("mistral_small_edge.llama")
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_llama_logs_only_if_asked(
    llama_log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    for verbose in (False, True, True, False):
        loading.route_log(verbose)
        llama_log.error("verbose %s", verbose)
        llama_log.debug("verbose %s", verbose)
    assert capsys.readouterr() == ("", "verbose True\n" * 4)
