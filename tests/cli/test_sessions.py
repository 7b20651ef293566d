"""`sessions`: looking at saved conversations, searching, taking along, deleting."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mistral_small_edge import places
from mistral_small_edge.chat.conversation import Question
from mistral_small_edge.cli.app import main
from mistral_small_edge.sessions import Session, Shelf
from tests.sessions.talks import ANSWERED, ASKED_ANEW, RED


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


class Home:
    """A folder of data with two sessions, `mine` the latest used, and what runs with it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.shelf = Shelf(folder)
        self._capsys = capsys
        self._keep("yours", ASKED_ANEW, 1000)
        self._keep("mine", replace(ANSWERED, unanswered=Question("And\x1b[2J?")), 2000)

    def _keep(self, name: str, session: Session, used: float) -> None:
        journal = self.shelf.create(name)
        journal.keep(session)
        journal.close()
        os.utime(journal.path, (used, used))

    def damage(self, name: str) -> Path:
        path = self.shelf.folder / f"{name}.jsonl"
        path.write_bytes(b"{}\n" + path.read_bytes())
        return path

    def run(self, *arguments: str) -> Done:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(places.DATA_MOVED_BY, str(self.shelf.folder.parent))
            patch.setattr(sys, "argv", ["mistral-small-edge", "sessions", *arguments])
            with pytest.raises(SystemExit) as left:
                main()
        code = left.value.code
        return Done(code if isinstance(code, int) else 0, *self._capsys.readouterr())


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(tmp_path / "data", capsys)


def test_the_list_has_the_latest_first(home: Home) -> None:
    done = home.run("list")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [row[:3] for row in rows] == [["mine", "demo", "1"], ["yours", "demo", "1"]]
    assert rows[0][5:] == ["What", "is", "this?"]


def test_the_list_for_programs(home: Home) -> None:
    first, second = json.loads(home.run("list", "--json").stdout)
    ended = home.shelf.look("mine").ended
    assert ended is not None
    assert first == {
        "name": "mine",
        "model": "demo",
        "exchanges": 1,
        "tokens": 12,
        "begun": first["begun"],
        "last_used": ended.isoformat(),
        "begins_with": "What is this?",
    }
    assert second["name"] == "yours"


def test_a_damaged_one_is_named_beside_the_others(home: Home) -> None:
    path = home.damage("mine")
    for arguments, out in ((("list",), "yours"), (("grep", "straße"), "yours:1:assistant")):
        done = home.run(*arguments)
        assert done.returncode == 1
        assert out in done.stdout
        assert f"error: {path}, line 1: its event is None" in done.stderr
    assert home.run("show", "mine").returncode == 1


def test_show_says_what_was_said(home: Home) -> None:
    done = home.run("show", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# mine\n\nHeld with demo.\n\n**System**\n\nBe brief.\n")
    shown = json.loads(home.run("show", "mine", "--json").stdout)
    assert shown.pop("begun") == shown.pop("last_used")
    assert shown == {
        "name": "mine",
        "model": "demo",
        "system": "Be brief.",
        "exchanges": [
            {
                "question": "What is this?",
                "pictures": [RED.digest],
                "answer": "Something red.\n",
                "tokens": 12,
            }
        ],
        "unanswered": {"question": "And\x1b[2J?", "pictures": []},
    }
    missing = home.run("show", "nobodys")
    assert missing.returncode == 1
    assert "error: no session 'nobodys'; the latest are: mine, yours" in missing.stderr


def test_grep_finds_who_said_it(home: Home) -> None:
    done = home.run("grep", "BE BRIEF")
    assert done.stdout == "mine:0:system: Be brief.\nyours:0:system: Be brief.\n"
    assert home.run("grep", "and").stdout == "mine:2:user: And\N{REPLACEMENT CHARACTER}[2J?\n"
    assert json.loads(home.run("grep", "red", "--json").stdout) == [
        {"name": "mine", "exchange": 1, "role": "assistant", "line": "Something red."}
    ]
    nothing = home.run("grep", "nowhere")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (1, "", "")


def test_export_writes_for_others(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    arguments = ("export", "mine", "--format", "json", "-o", str(file))
    assert home.run(*arguments).returncode == 0
    assert json.loads(file.read_text())["model"] == "demo"
    again = home.run(*arguments)
    assert again.returncode == 2
    assert "is there already; --force overwrites it" in again.stderr
    assert home.run(*arguments, "--force").returncode == 0
    assert home.run("export", "mine").stdout == home.run("show", "mine").stdout
    assert home.run("export", "mine", "--force").returncode == 2


def test_remove_asks_for_a_yes_and_for_names_that_are(home: Home) -> None:
    assert home.run("remove", "mine").returncode == 2
    wrong = home.run("remove", "--yes", "mine", "nobodys")
    assert (wrong.returncode, home.shelf.names()) == (1, ["mine", "yours"])
    done = home.run("remove", "--yes", "mine", "yours")
    assert (done.returncode, done.stderr) == (0, "mine is deleted\nyours is deleted\n")
    assert [path for path in home.shelf.folder.parent.rglob("*") if path.is_file()] == []
    assert "no conversation is saved in" in home.run("list").stderr
    assert home.run("list", "--json").stdout == "[]\n"
