"""Whom `ask` and `chat` ask: a server that has the model already, one that is named, or nobody else."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge import places
from mistral_small_edge.cli.app import app
from mistral_small_edge.config import EngineConfig, ServerConfig
from mistral_small_edge.errors import (
    EdgeError,
    EngineOverloaded,
    InvalidRequest,
    ModelNotFound,
    ServerFailed,
    ServerLocked,
    ServerUnreachable,
    WorkerLost,
)
from mistral_small_edge.llm import LLM
from mistral_small_edge.running import RunningServer, announced, running_servers
from scripts.toy.tekken import Tekken
from tests.cli.scripted_llm import ScriptedLLM, ScriptedStream
from tests.cli.test_chat import talk
from tests.cli.test_serve import started
from tests.server.live import PATIENCE, serving
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mistral_small_edge.chat.messages import ChatRequest


KEY = "MISTRAL_SMALL_EDGE_API_KEY"
SERVER = "MISTRAL_SMALL_EDGE_SERVER"
CONTEXT = 512


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "noise.gguf"
    shape = TinyShape(context=1024)
    return write_tiny_model(path, chat_template=None, tekken=Tekken(), shape=shape)


@pytest.fixture(scope="module")
def llm(model: Path) -> Iterator[LLM]:
    with LLM.load(model, EngineConfig(context_length=CONTEXT, threads=1)) as llm:
        yield llm


@pytest.fixture(scope="module")
def url(llm: LLM) -> Iterator[str]:
    with serving(llm, 1) as url:
        yield url


@pytest.fixture
def running(url: str, model: Path) -> Iterator[str]:
    """A server with the model that others can find."""
    with announced(RunningServer.this_process(url, model, has_key=False), places.servers()):
        yield url


class Flaky(ScriptedLLM):
    """Behind a server, or shared with a worker, that is gone for the first three questions."""

    def __init__(self) -> None:
        super().__init__()
        self._failures: list[EdgeError] = [
            EngineOverloaded(1, 2),
            WorkerLost("10.0.0.2:50052", "no answer within 3 seconds"),
            ServerFailed("http://127.0.0.1:9", "the connection broke"),
        ]

    def stream(self, request: ChatRequest) -> ScriptedStream:
        if self._failures:
            raise self._failures.pop()
        return super().stream(request)


def test_a_person_may_ask_again_when_the_server_is_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = talk(Flaky(), "Hi", "/retry", "/retry", "/retry")
    assert [said.answer for said in state.conversation.exchanges] == ["you said 'Hi'"]
    words = capsys.readouterr().err
    assert "the connection broke" in words
    assert "worker 10.0.0.2:50052: no answer within 3 seconds" in words
    assert "Repeat it in 2 seconds" in words


def test_a_script_ends_with_its_server() -> None:
    with pytest.raises(ServerFailed):
        talk(Flaky(), "Hi", interactive=False)


class Program:
    """The command line in this process; what it said is `out` and `err`."""

    def __init__(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self._stdin = folder / "stdin"
        self.out = self.err = ""

    def run(self, *words: str, stdin: str = "") -> str:
        """Its answer."""
        self._stdin.write_text(stdin)
        with self._stdin.open() as file, self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", file)
            app(list(words), standalone_mode=False)
        self.out, self.err = self._capsys.readouterr()
        return self.out

    def ask(self, *words: str) -> str:
        """Its short and certain answer."""
        return self.run("ask", "--max-tokens", "3", "--temperature", "0", *words, "Hi")


@pytest.fixture
def program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Program:
    return Program(capsys, monkeypatch, tmp_path)


def test_a_server_that_runs_here_is_asked_and_said(
    program: Program, running: str, model: Path
) -> None:
    there = program.ask("-m", str(model))
    assert program.err == f"Using the server at {running} (--local loads the model here instead).\n"
    assert program.ask("-m", str(model), "--local") == there
    assert program.err == ""


def test_so_is_it_by_a_conversation(program: Program, running: str, model: Path) -> None:
    wanted = program.ask("-m", str(model))
    words = ("-m", str(model), "--max-tokens", "3", "--temperature", "0")
    answers = program.run("chat", *words, stdin="Hi\nAnd?\n")
    assert running in program.err
    assert answers.startswith(wanted)


@pytest.mark.parametrize(
    "options",
    [
        ("--threads", "1"),
        ("--kv-type", "f16"),  # the default, but it was said
        ("--no-vision",),
        ("--no-prompt-cache",),
        ("--context", str(CONTEXT + 1)),
    ],
)
def test_what_is_about_loading_has_the_model_loaded_here(
    program: Program, running: str, model: Path, options: tuple[str, ...]
) -> None:
    program.ask("-m", str(model), *options)
    assert program.err == ""


def test_a_context_that_the_server_has_is_none_of_it(
    program: Program, running: str, model: Path
) -> None:
    program.ask("-m", str(model), "--context", str(CONTEXT))
    assert running in program.err


def test_another_models_server_is_not_asked(
    program: Program, url: str, model: Path, tmp_path: Path
) -> None:
    other = tmp_path / model.name
    other.write_bytes(model.read_bytes())
    server = RunningServer.this_process(url, other, has_key=False)
    with announced(server, places.servers()):
        program.ask("-m", str(model))
    assert program.err == ""


def test_a_server_that_does_not_answer_is_passed_over(program: Program, model: Path) -> None:
    silent = RunningServer.this_process("http://127.0.0.1:9", model, has_key=False)
    with announced(silent, places.servers()):
        program.ask("-m", str(model))
        assert running_servers(places.servers()) == [silent]  # its process lives
    assert program.err == ""


def test_a_key_is_sent_to_who_asks_for_one(
    program: Program, llm: LLM, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(llm, 1, ServerConfig(api_keys=("first", "second"))) as url:
        server = RunningServer.this_process(url, model, has_key=True)
        with announced(server, places.servers()):
            for key, asked in (("", False), ("another", False), ("second third", True)):
                monkeypatch.setenv(KEY, key)
                program.ask("-m", str(model))
                assert (url in program.err) is asked
        with announced(replace(server, has_key=False), places.servers()):
            program.ask("-m", str(model))
            assert program.err == ""
        program.ask("--server", url)
        monkeypatch.delenv(KEY)
        with pytest.raises(ServerLocked):
            program.ask("--server", url)


def test_a_server_that_is_named_is_asked_for_whatever_it_has(
    program: Program, url: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = program.ask("-m", str(model), "--local")
    assert program.ask("--server", url) == wanted
    assert program.ask("--server", f"{url}/v1", "-m", "Noise") == wanted
    assert program.err == ""
    monkeypatch.setenv(SERVER, url)
    assert program.ask() == wanted


def test_what_is_typed_is_nearer_than_what_was_set_once(
    program: Program, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER, "http://127.0.0.1:9")
    assert program.ask("-m", str(model), "--threads", "1")
    assert program.ask("-m", str(model), "--local")
    with pytest.raises(ServerUnreachable):
        program.ask()


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (("--threads", "1"), InvalidRequest, "--threads"),
        (("--no-image-cache",), InvalidRequest, "--no-image-cache"),
        (("--local",), InvalidRequest, "--local"),
        (("--context", str(CONTEXT + 1)), InvalidRequest, "--context"),
        (("--model", "nosuch"), ModelNotFound, "noise"),
    ],
)
def test_what_a_named_server_cannot_do_is_refused(
    program: Program, url: str, words: tuple[str, ...], kind: type[EdgeError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        program.ask("--server", url, *words)


def test_serve_can_be_found_from_when_it_is_ready_until_it_ends(
    program: Program, model: Path
) -> None:
    with started("--model", str(model)) as (process, url):
        (server,) = running_servers(places.servers())
        assert (server.url, server.process, server.has_key) == (url, process.pid, False)
        assert program.ask("-m", str(model))
        assert url in program.err
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert list(places.servers().iterdir()) == []


def test_a_server_that_was_killed_is_not_looked_for(program: Program, model: Path) -> None:
    with started("--model", str(model)) as (process, _):
        process.kill()
        process.wait(PATIENCE)
    assert list(places.servers().iterdir())
    assert program.ask("-m", str(model))
    assert program.err == ""
    assert list(places.servers().iterdir()) == []
