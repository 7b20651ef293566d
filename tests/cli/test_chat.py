"""`chat` over plain lines, and the loop's own rules, in this process with a scripted model."""

from __future__ import annotations

import io
import json
import sys

import pytest

from mistral_small_edge.chat.conversation import Conversation, Exchange, Question
from mistral_small_edge.cli import repl_commands
from mistral_small_edge.cli.chat import converse
from mistral_small_edge.cli.pictures import Looks
from mistral_small_edge.cli.repl import Repl
from mistral_small_edge.errors import EngineStopped
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.sessions import Session
from tests.cli.scripted_llm import ScriptedLLM


@pytest.fixture
def llm() -> ScriptedLLM:
    return ScriptedLLM()


def talk(
    llm: ScriptedLLM, *lines: str, interactive: bool = True, sees: bool = False
) -> repl_commands.State:
    """The state after a person typed `lines`."""
    state = repl_commands.State(
        model=llm.name,
        context_length=llm.context_length,
        defaults=llm.default_sampling,
        sampling=llm.default_sampling,
        conversation=Conversation(),
        sees=sees,
    )
    repl = Repl(llm.as_llm(), state, Looks(), interactive=interactive)
    typed = iter(lines)
    repl.run(lambda: next(typed, None))
    return repl.state


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))


def test_from_a_pipe_only_the_answers_go_to_stdout(
    llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(
        monkeypatch,
        'one\r\n\n  \n/system Be brief.\n/set seed 7\nh\u00e9\n"""a\nb"""\n//x\nlines\n'.encode(),
    )
    converse(
        llm.as_llm(),
        SamplingParams(temperature=0.5),
        Session(conversation=Conversation("Be long.")),
        stats=True,
    )
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "you said 'one'",
        "you said 'h\u00e9'",
        r"you said 'a\nb'",
        "you said '/x'",
        "one",
        "two",
    ]
    assert err.splitlines()[:3] == [
        "10 prompt tokens (2 cached) in 0.5 s, 20 tokens in 0.4 s: 47.5 tok/s",
        "System prompt set.",
        "seed is 7 from the next answer on.",
    ]
    assert llm.asked[0] == [("system", "Be long."), ("user", "one")]
    assert llm.asked[1][0] == ("system", "Be brief.")
    assert [request.sampling for request in llm.requests[:2]] == [
        SamplingParams(temperature=0.5),
        SamplingParams(temperature=0.5, seed=7),
    ]
    assert all(stream.closed == 1 for stream in llm.streams)


@pytest.mark.parametrize("content", [b"", b"/exit\nnever asked\n", b"\n\n"])
def test_nothing_asked_nothing_said(
    llm: ScriptedLLM,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    pipe(monkeypatch, content)
    converse(llm.as_llm(), llm.default_sampling)
    assert capsys.readouterr() == ("", "")
    assert llm.requests == []


def test_a_closed_stdin_is_an_empty_one(llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    converse(llm.as_llm(), llm.default_sampling)
    assert llm.requests == []


def test_bytes_that_are_no_text_are_replaced(
    llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, b"a\xffb\n")
    converse(llm.as_llm(), llm.default_sampling)
    assert llm.asked == [[("user", "a\ufffdb")]]


def test_each_question_carries_what_was_said(llm: ScriptedLLM) -> None:
    state = talk(llm, "one", "two")
    assert [len(messages) for messages in llm.asked] == [1, 3]
    assert llm.asked[1] == [
        ("user", "one"),
        ("assistant", "you said 'one'"),
        ("user", "two"),
    ]
    assert state.conversation.tokens == 30


def test_a_refused_message_leaves_no_trace(
    llm: ScriptedLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    state = talk(llm, "too long", "one", "too long", "what was said?")
    assert [exchange.question.text for exchange in state.conversation.exchanges] == [
        "one",
        "what was said?",
    ]
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[1]) == [
        "user: one",
        "assistant: you said 'one'",
        "user: what was said?",
    ]
    sentence = "error: the prompt has 9000 tokens and the context holds 8192, answer included"
    restart = "restart with --context 9000 or more."
    assert err.splitlines() == [
        sentence,
        f"  Shorten the message, or {restart}",
        sentence,
        f"  Make room with /undo or /clear, or {restart}",
    ]


@pytest.mark.parametrize("question", ["interrupt", "impatient"])
def test_ctrl_c_keeps_what_was_written(
    llm: ScriptedLLM, question: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = talk(llm, question, "next")
    assert state.conversation.exchanges[0] == Exchange(Question(question), "one two three")
    assert llm.asked[1][1] == ("assistant", "one two three")
    assert [stream.closed for stream in llm.streams] == [1, 1]
    assert capsys.readouterr().err == "Stopped; what was written stays in the conversation.\n"


def test_ctrl_c_before_the_first_word_takes_the_message_back(
    llm: ScriptedLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    state = talk(llm, "one", "interrupt reading")
    assert [exchange.question.text for exchange in state.conversation.exchanges] == ["one"]
    assert "before the first word" in capsys.readouterr().err


def test_ctrl_c_ends_a_script(llm: ScriptedLLM, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        talk(llm, "interrupt", "never asked", interactive=False)
    assert len(llm.requests) == 1
    assert capsys.readouterr() == ("one two three\n", "")


def test_retry_replaces_the_last_answer(llm: ScriptedLLM) -> None:
    state = talk(llm, "one", "two", "/retry")
    assert llm.asked[2] == llm.asked[1]
    assert [exchange.question.text for exchange in state.conversation.exchanges] == ["one", "two"]


def test_an_engine_that_fails_ends_the_loop(
    llm: ScriptedLLM, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineStopped):
        talk(llm, "break", "never asked")
    assert capsys.readouterr().out == "half an ans\n"
    assert len(llm.requests) == 1


@pytest.mark.parametrize(
    ("question", "remark"),
    [
        ("cut", "Cut after 5 tokens (/set max_tokens changes that).\n"),
        (
            "full",
            "Cut because the context of 8192 tokens is full; /undo or /clear makes room.\n",
        ),
    ],
)
def test_an_answer_that_was_cut_says_why(
    llm: ScriptedLLM, question: str, remark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ("/set max_tokens 5",) if question == "cut" else ()
    talk(llm, *limit, question)
    assert capsys.readouterr().err.endswith(remark)
