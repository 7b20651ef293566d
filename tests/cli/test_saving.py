"""A conversation that saves itself: what is on disk at every moment, and how one goes on with it."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from mistral_small_edge import places
from mistral_small_edge.chat.conversation import Exchange, Question
from mistral_small_edge.cli import repl_commands, repl_sessions
from mistral_small_edge.cli.chat import converse
from mistral_small_edge.cli.pictures import Looks
from mistral_small_edge.cli.repl import Repl
from mistral_small_edge.cli.saving import Saving, begun
from mistral_small_edge.errors import (
    EngineStopped,
    InvalidRequest,
    SessionInUse,
    SessionNotFound,
)
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.sessions import Session, Shelf
from tests.cli.pty_driver import CTRL_D, ENTER, PtyProgram
from tests.cli.scripted_llm import ScriptedLLM, ScriptedStream
from tests.cli.test_repl_commands import EMPTY

if TYPE_CHECKING:
    from mistral_small_edge.chat.messages import ChatRequest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setenv(places.DATA_MOVED_BY, str(tmp_path / "data"))
    return Shelf(places.data_directory())


class Watching(ScriptedLLM):
    """Sees what is on disk when it is asked."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__()
        self._shelf = shelf
        self.seen: list[Session] = []

    def stream(self, request: ChatRequest) -> ScriptedStream:
        self.seen.append(self._shelf.look(self._shelf.last()).session)
        return super().stream(request)


def talk(
    shelf: Shelf,
    *lines: str,
    name: str | None = None,
    llm: ScriptedLLM | None = None,
    sees: bool = False,
) -> repl_commands.State:
    """The state after a person typed `lines`."""
    typed = iter(lines)
    with begun(name, resume=False, no_save=False, interactive=True) as (saving, session):
        state = repl_sessions.resumed(replace(EMPTY, sees=sees), session)
        model = (llm or ScriptedLLM()).as_llm()
        repl = Repl(model, state, Looks(), saving, interactive=True)
        repl.run(lambda: next(typed, None))
    return repl.state


def asked(session: Session) -> list[str]:
    return [exchange.question.text for exchange in session.conversation.exchanges]


def test_a_conversation_is_saved_as_it_goes(shelf: Shelf) -> None:
    llm = Watching(shelf)
    state = talk(shelf, "/system Be brief.", "one", "two", "/set seed 7", "/undo", llm=llm)
    assert [asked(session) for session in llm.seen] == [[], ["one"]]
    assert [session.unanswered for session in llm.seen] == [Question("one"), Question("two")]
    (name,) = shelf.names()
    assert name.endswith("-one")
    assert shelf.look(name).session == repl_sessions.session_of(state)
    assert state.conversation.system == "Be brief."


@pytest.mark.parametrize(
    "lines", [(), ("/system Be brief.", "/set seed 7"), ("too long",), ("interrupt reading",)]
)
def test_where_nothing_was_said_nothing_is_saved(shelf: Shelf, lines: tuple[str, ...]) -> None:
    talk(shelf, *lines)
    talk(shelf, *lines, name="mine")
    assert shelf.names() == []


def test_a_session_goes_on_as_if_it_had_not_been_left(shelf: Shelf) -> None:
    talk(shelf, "/system Be brief.", "/set temperature 0.7", "one", name="mine")
    llm = ScriptedLLM()
    talk(shelf, "two", name="mine", llm=llm)
    whole = ScriptedLLM()
    talk(shelf, "/system Be brief.", "/set temperature 0.7", "one", "two", llm=whole)
    assert llm.requests == whole.requests[1:]


def test_what_was_not_answered_is_asked_again(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineStopped):
        talk(shelf, "one", "break", name="mine")
    session = shelf.look("mine").session
    assert (asked(session), session.unanswered) == (["one"], Question("break"))
    llm = ScriptedLLM()
    with pytest.raises(EngineStopped):
        talk(shelf, "/retry", name="mine", llm=llm)
    assert llm.asked[0][-1] == ("user", "break")
    talk(shelf, "/load mine", "/undo", name="other")
    assert "Not answered yet: break (/retry asks it again)" in capsys.readouterr().err
    assert shelf.look("mine").session.unanswered is None
    assert asked(shelf.look("mine").session) == ["one"]


def test_asked_anew_the_old_answer_stays_until_there_is_another(shelf: Shelf) -> None:
    llm = Watching(shelf)
    talk(shelf, "one", "two", "/retry", "/clear", name="mine", llm=llm)
    assert asked(llm.seen[2]) == ["one", "two"]
    assert llm.seen[2].unanswered is None
    assert asked(shelf.look("mine").session) == []


def test_what_was_stopped_is_saved_as_far_as_it_came(shelf: Shelf) -> None:
    talk(shelf, "interrupt", name="mine")
    session = shelf.look("mine").session
    assert session.conversation.exchanges == (Exchange(Question("interrupt"), "one two three"),)


def test_names_are_given_and_taken(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    talk(shelf, "one", "/save mine", "two", "/save mine", "/sessions")
    err = capsys.readouterr().err
    assert err.splitlines() == [
        "Saved as mine.",
        "Saved as mine.",
        "mine  2 exchanges  one (this one)",
    ]
    state = talk(
        shelf, "three", "/load nowhere", "/save mine", "/load mine", "/load mine", "four", name="x"
    )
    assert asked(repl_sessions.session_of(state)) == ["one", "two", "four"]
    assert asked(shelf.look("x").session) == ["three"]
    assert capsys.readouterr().err.splitlines() == [
        "error: no session 'nowhere'; the latest are: x, mine",
        "  See what there is: mistral-small-edge sessions list",
        "error: there is a session 'mine' already",
        *["Session mine: 2 exchanges  one", "Asked last: two"] * 2,
    ]


def test_a_session_that_is_open_elsewhere_stays_there(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(shelf, "one", name="mine")
    with closing(shelf.open("mine")):
        with pytest.raises(SessionInUse):
            talk(shelf, name="mine")
        state = talk(shelf, "two", "/load mine", "three", name="other")
    assert asked(repl_sessions.session_of(state)) == ["two", "three"]
    assert "error: the session 'mine' is open elsewhere" in capsys.readouterr().err


def test_another_model_brings_its_own_settings(shelf: Shelf) -> None:
    session = Session("elsewhere", SamplingParams(temperature=1.5))
    assert repl_sessions.resumed(EMPTY, session).sampling == EMPTY.sampling
    own = Session(EMPTY.model, SamplingParams(temperature=1.5))
    assert repl_sessions.resumed(EMPTY, own).sampling == own.sampling


def test_a_file_is_remembered_by_its_whole_path() -> None:
    assert repl_sessions.lasting_name("my.gguf") == f"{Path.cwd()}/my.gguf"
    for name in ("demo:Q4_1", "hf:a/b/c.gguf", "/my.gguf"):
        assert repl_sessions.lasting_name(name) == name


def test_a_disk_that_takes_nothing_is_one_note(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.folder.parent.write_text("in the way")
    typed = iter(["one", "two", "three"])

    def read() -> str | None:
        text = next(typed, None)
        if text == "three":
            shelf.folder.parent.unlink()
        return text

    with closing(Saving(shelf, "always")) as saving:
        repl = Repl(ScriptedLLM().as_llm(), EMPTY, Looks(), saving, interactive=True)
        repl.run(read)
        name = saving.name
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("The conversation is not saved: ")
    assert said[1:] == ["The conversation is saved again."]
    assert asked(shelf.look(name).session) == ["one", "two", "three"]


def test_nothing_is_saved_that_is_not_to_be(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(shelf, "one", name="mine")
    before = (shelf.folder / "mine.jsonl").read_bytes()
    with begun("mine", resume=False, no_save=True, interactive=True) as (saving, session):
        state = repl_sessions.resumed(EMPTY, session)
        typed = iter(["two", "/save other", "/load mine", "three"])
        repl = Repl(ScriptedLLM().as_llm(), state, Looks(), saving, interactive=True)
        repl.run(lambda: next(typed, None))
    assert asked(repl_sessions.session_of(repl.state)) == ["one", "three"]
    assert "error: nothing is saved in a conversation with --no-save" in capsys.readouterr().err
    assert shelf.names() == ["mine"]
    assert (shelf.folder / "mine.jsonl").read_bytes() == before


def test_what_cannot_be_begun_is_said(shelf: Shelf) -> None:
    def begin(name: str | None, *, resume: bool = False, no_save: bool = False) -> None:
        with begun(name, resume=resume, no_save=no_save, interactive=True):
            raise AssertionError("it began")

    with pytest.raises(InvalidRequest, match="--resume means the last session"):
        begin("mine", resume=True)
    with pytest.raises(SessionNotFound, match="no conversation is saved yet"):
        begin(None, resume=True)
    with pytest.raises(SessionNotFound, match="no session 'mine'"):
        begin("mine", no_save=True)
    with pytest.raises(InvalidRequest, match=r"session is '\.\./a'"):
        begin("../a")


@pytest.mark.parametrize(("name", "saved"), [(None, []), ("mine", ["mine"])])
def test_from_a_pipe_only_what_is_named_is_saved(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str | None, saved: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n"), "utf-8"))
    llm = ScriptedLLM()
    with begun(name, resume=False, no_save=False, interactive=False) as (saving, session):
        converse(llm.as_llm(), llm.default_sampling, session, saving)
    assert shelf.names() == saved


def test_exports_are_whole_and_overwrite_nothing_untold(
    shelf: Shelf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my talk.md"
    lines = ("/export md", "one", "/export json", f"/export md '{file}'", "two")
    again = (
        f"/export md '{file}'",
        "/export md --force 'my talk.md'",
        "/export pdf",
        "/export md a b",
    )
    talk(
        shelf,
        *lines,
        *again,
        "/export md no/such/folder",
        "/export md --force /dev/null",
        name="mine",
    )
    wrong = "error: /export takes md or json, and a file's name if it is to have another"
    assert capsys.readouterr().err.splitlines() == [
        "error: nothing to export: the conversation is empty",
        "Written to mine.json.",
        f"Written to {file}.",
        f"error: {file} is there already; --force overwrites it",
        "Written to my talk.md.",
        wrong,
        wrong,
        f"error: {tmp_path}/no/such/folder cannot be written: No such file or directory",
        "error: /dev/null is no file",
    ]
    assert "you said 'two'" in file.read_text()
    assert json.loads((tmp_path / "mine.json").read_text())["messages"][0]["content"] == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "mine.json", "my talk.md"]


def test_texts_and_pictures_go_with_the_next_message(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.py").write_text("pass\n")
    Image.new("RGB", (28, 28), "red").save(tmp_path / "red.png")
    code, both = f"/attach {tmp_path}/f.py", f"/attach {tmp_path}/f.py {tmp_path}/red.png"
    talk(shelf, both, "/attach", code, "/attach none", both, "one", "two", name="mine", sees=True)
    one, two = shelf.look("mine", pictures=True).session.conversation.exchanges
    assert one.question.text == "f.py\n```\npass\n```\n\none"
    assert len(one.question.images) == 2, "/attach none takes back texts"
    assert two.question == Question("two")
    err = capsys.readouterr().err.splitlines()
    assert err[:3] == [
        "red.png: 28x28 pixels, 2 tokens",
        "f.py: 1 line, 5 bytes",
        "Texts with the next message: f.py",
    ]


def test_what_cannot_be_attached_leaves_nothing(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.py").write_text("pass\n")
    Image.new("RGB", (28, 28), "red").save(tmp_path / "red.png")
    for other, sentence in (("red.png", "loaded without a projector"), ("no", "cannot be read")):
        state = talk(shelf, f"/attach {tmp_path}/f.py {tmp_path}/{other}")
        assert (state.attached, state.pictures) == ((), ())
        assert sentence in capsys.readouterr().err


def test_in_a_terminal_a_killed_conversation_goes_on(shelf: Shelf, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.cli.scripted_llm"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "TERM": "xterm-256color"}
    with PtyProgram(command, environment=environment, directory=ROOT) as chat:
        chat.expect("or /help")
        chat.send("hello" + ENTER)
        chat.expect("you said 'hello'")
        chat.send("write forever" + ENTER)
        chat.expect("one two three")
    (name,) = shelf.names()
    with PtyProgram([*command, name], environment=environment, directory=ROOT) as chat:
        assert f"Session {name}: 1 exchange  hello" in chat.expect("or /help")
        chat.send("/save mine" + ENTER)
        chat.expect("Saved as mine.")
        chat.send("/load m\t" + ENTER)
        chat.expect("Not answered yet: write forever (/retry asks it again)")
        chat.send("what was said?" + ENTER)
        chat.expect('"assistant: you said \'hello\'", "user: what was said?"]')
        chat.expect("or /help")
        chat.send(CTRL_D)
        chat.expect("Saved as mine; mistral-small-edge chat --resume goes on with it.")
        assert chat.wait() == 0
