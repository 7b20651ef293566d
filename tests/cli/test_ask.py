"""`ask` from the outside: what is on stdout, what is not, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.pty_driver import CTRL_C, PtyProgram

pytestmark = pytest.mark.model

PROGRAM = (sys.executable, "-m", "mistral_small_edge")
QUICK = ("--model", "demo", "--threads", "1", "--context", "512", "--temperature", "0")
PATIENCE = 120  # seconds
CAPITAL = "What is the capital of France? Answer in one word."


def ask(
    *arguments: str, stdin: bytes = b"", options: tuple[str, ...] = QUICK
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, "ask", *options, *arguments],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_answer_is_all_there_is_on_stdout() -> None:
    done = ask(CAPITAL)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"The capital of France is Paris.\n"


def test_json_and_stats() -> None:
    done = ask(CAPITAL, "--json", "--stats", "--system", "Be brief.", "--max-tokens", "2")
    response = json.loads(done.stdout)
    choice = response["choices"][0]
    assert response["model"] == "demo:Q4_1"
    assert choice["finish_reason"] == "length"
    assert choice["message"]["role"] == "assistant"
    usage = response["usage"]
    assert usage["completion_tokens"] == 2
    assert usage["total_tokens"] == usage["prompt_tokens"] + 2
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert b"tok/s" in done.stderr


def tokens_of(*arguments: str, stdin: bytes = b"") -> int:
    done = ask("--json", "--max-tokens", "1", *arguments, stdin=stdin)
    tokens: int = json.loads(done.stdout)["usage"]["prompt_tokens"]
    return tokens


def test_piped_input_comes_before_the_prompt_and_a_dash_stands_for_it() -> None:
    together = tokens_of("one two\n\nthree")
    assert tokens_of("three", stdin=b"one two\n") == together
    assert tokens_of("-", stdin=b"one two\n\nthree\n") == together
    assert tokens_of(stdin=b"one two\n\nthree") == together


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "complaint"),
    [
        ((), b"", 2, "nothing was asked"),
        (("-",), b" \n", 2, "nothing was asked"),
        (("x",), b"\xff\xfe", 2, "stdin is not UTF-8"),
        (("x", "--temperature", "9"), b"", 2, "temperature is 9.0"),
        (("x", "--stop", ""), b"", 2, "stop"),
        (("x", "--kv-type", "f64"), b"", 2, "f64"),
        (("x", "--no-such-option"), b"", 2, "--no-such-option"),
        (("x", "--context", "9000"), b"", 2, "trained on 8192"),
        (("word " * 600,), b"", 1, "the context holds 512"),
        (("x", "--model", "nosuch"), b"", 1, "no model 'nosuch'"),
        (("x", "--model", "mistral-small-3.2"), b"", 1, "mistral-small-edge download"),
        (("x", "--model", str(Path(__file__))), b"", 1, "GGUF"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_a_code(
    arguments: tuple[str, ...], stdin: bytes, code: int, complaint: str
) -> None:
    done = ask(*arguments, stdin=stdin)
    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    assert complaint in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") <= 4


def test_a_closed_pipe_ends_it_quietly() -> None:
    with subprocess.Popen(
        [*PROGRAM, "ask", *QUICK, "Tell me a long story about a boat."],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(4)
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(PATIENCE) == 1
        finally:
            process.kill()


def test_no_stdin_at_all_is_no_input() -> None:
    script = 'exec "$@" <&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *PROGRAM, "ask", *QUICK, CAPITAL],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == b"The capital of France is Paris.\n", done.stderr


@pytest.mark.parametrize(
    ("flag", "words"), [("auto", b"flash attention off"), ("on", b"flash attention on")]
)
def test_verbose_shows_llama_cpps_log_and_our_choices_on_stderr(flag: str, words: bytes) -> None:
    done = ask(CAPITAL, "--verbose", "--flash-attention", flag)
    assert b"llama_context" in done.stderr
    assert words in done.stderr
    assert done.stdout == b"The capital of France is Paris.\n"


def test_a_second_run_reads_from_the_cache(tmp_path: Path) -> None:
    document = "The harbour master writes the arrival of every ship into a large book. " * 12
    options = ("--json", "--max-tokens", "1", "--prompt-cache", str(tmp_path / "cache"))
    usages = [json.loads(ask(*options, document + "Who?").stdout)["usage"] for _ in range(2)]
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    assert cached == [0, usages[0]["prompt_tokens"] - 1]


def test_in_a_terminal_ctrl_c_stops_it_with_130(tmp_path: Path) -> None:
    command = [*PROGRAM, "ask", *QUICK, "--max-tokens", "400", "Tell me a long story."]
    environment = {**os.environ, "TERM": "xterm-256color"}
    with PtyProgram(command, environment=environment, directory=tmp_path) as program:
        program.expect("I'm here")
        program.send(CTRL_C)
        assert program.wait() == 130
        assert "Traceback" not in program.raw.decode(errors="replace")
