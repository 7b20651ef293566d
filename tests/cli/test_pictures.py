"""Pictures in the terminal: opened early, kept with their question, told of while looked at."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from mistral_small_edge.chat.deltas import Delta, ImageProgress, Progress, TextDelta
from mistral_small_edge.chat.messages import ImagePart
from mistral_small_edge.cli import answer, pictures, repl_commands
from mistral_small_edge.cli.pictures import Looks
from mistral_small_edge.errors import InvalidRequest, NoProjector, UnsupportedImage
from tests.cli.scripted_llm import ScriptedLLM, ScriptedStream
from tests.cli.test_answer import FINISH
from tests.cli.test_chat import talk
from tests.cli.test_repl_commands import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASK = (sys.executable, "-m", "mistral_small_edge", "ask", "--model", "toy")
SEEING = replace(EMPTY, sees=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my picture.png"
    Image.new("RGB", (60, 30), "red").save(path)
    return path


def test_each_picture_is_told_of_with_its_cost(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = file.with_name("large.jpg")
    Image.new("RGB", (3000, 1500)).save(large)
    shown = Looks().open([str(file), str(large)])
    assert [one.image.num_tokens for one in shown] == [8, 1568]
    assert capsys.readouterr().err.splitlines() == [
        "my picture.png: 60x30 pixels, 8 tokens",
        "large.jpg: 3000x1500 pixels, seen as 1540x784, 1,568 tokens",
    ]


@pytest.mark.parametrize(
    ("looks", "tokens"),
    [(Looks("low"), 272), (Looks("high", context_length=1000), 1568), (Looks(context_length=1000), 480)],
)  # fmt: skip
def test_detail_and_context_bound_the_tokens(looks: Looks, tokens: int, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (3000, 1500)).save(path)
    (shown,) = looks.open([str(path)])
    assert shown.image.num_tokens <= tokens


def test_a_file_that_moves_is_seen_by_its_first_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "move.gif"
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    Looks().open([str(path)])
    assert "3 frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--image", "/no/such.png", "What is it?"), 1, "such.png"),
        (("--image", "pyproject.toml", "What is it?"), 1, "pyproject.toml"),
        (("--image", "-", "-"), 2, "stdin can be one of"),
        (("--image", "-", "--image", "-", "What is it?"), 2, "stdin can be one of"),
        (("--image-detail", "medium", "What is it?"), 2, "medium"),
        (("--no-vision", "--mmproj", "x.gguf", "What is it?"), 2, "vision is off"),
        (("--mmproj", "/no/such.gguf", "What is it?"), 1, "/no/such.gguf"),
    ],
)
def test_what_cannot_be_looked_at_is_said_at_once(
    arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = subprocess.run(
        [*ASK, *arguments], input=b"", capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (code, b"")
    assert words in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_a_model_that_does_not_see_says_what_to_fetch(file: Path) -> None:
    done = subprocess.run(
        [*ASK, "--threads", "1", "--no-vision", "--image", str(file), "What is it?"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert "mistral-small-edge download toy:f16" in done.stderr.decode()


def test_another_kind_of_model_does_not_see(file: Path) -> None:
    done = subprocess.run(
        [*ASK[:-1], "demo", "--threads", "1", "--image", str(file), "What is it?"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert "this model cannot see images" in done.stderr.decode()


def test_a_picture_stays_with_its_question(file: Path) -> None:
    llm = ScriptedLLM()
    quoted = f"/image '{file}'"
    state = talk(llm, quoted, "too long", quoted, "one", "two", "/retry", "/undo", sees=True)
    shown = [
        [part for said in r.messages for part in said.parts if isinstance(part, ImagePart)]
        for r in llm.requests
    ]
    assert [len(some) for some in shown] == [1, 2, 2, 2], "refused: kept for the next message"
    assert [len(exchange.question.images) for exchange in state.conversation.exchanges] == [2]
    assert state.pictures == ()


def test_a_picture_that_fails_leaves_the_others(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = talk(ScriptedLLM(), f"/image '{file}'", "/image nosuch.png", "/image 'open", sees=True)
    assert [shown.name for shown in state.pictures] == ["my picture.png"]
    err = capsys.readouterr().err
    assert "nosuch.png" in err
    assert "file's name cannot be read" in err


def test_the_command_in_words(file: Path) -> None:
    assert repl_commands.run(SEEING, "/image").said.endswith("none")
    assert repl_commands.run(SEEING, r"/image a\ b.png 'c d.png'").show == ("a b.png", "c d.png")
    waiting = replace(SEEING, pictures=Looks().open([str(file)]))
    assert repl_commands.run(waiting, "/image").said.endswith("my picture.png")
    assert repl_commands.run(waiting, "/image none").state.pictures == ()
    with pytest.raises(NoProjector):
        repl_commands.run(EMPTY, "/image x.png")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        repl_commands.run(SEEING, "/image 'open")


def test_names_are_completed_with_their_blanks_escaped(file: Path) -> None:
    (file.parent / "my folder").mkdir()
    folder = str(file.parent)
    both = [rf"{folder}/my\ folder/", rf"{folder}/my\ picture.png"]
    assert repl_commands.completions(f"/image {folder}/m") == both
    assert repl_commands.completions(rf"/image one.png {folder}/my\ p") == both[1:]
    assert pictures.completions("/no/such/folder/x") == []


def test_a_long_look_is_told_of_where_no_bar_can_be_seen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 0.0, 7.0, 10.0, 60.0, 0.0, 0.1])
    monkeypatch.setattr("time.monotonic", lambda: next(now))

    def deltas() -> Iterator[Delta]:
        yield Progress(0, 100, 0)
        yield from (ImageProgress(1, 2, done) for done in (0.0, 0.0, 0.1, 0.2, 1.0))
        yield Progress(50, 100, 0)
        yield from (ImageProgress(2, 2, done) for done in (0.5, 1.0))
        yield TextDelta("yes")
        yield FINISH

    answer.show(ScriptedStream(deltas()))
    assert capsys.readouterr() == ("yes\n", "Looking at picture 1 of 2: about 40 s\n")


def test_an_address_is_no_file() -> None:
    with pytest.raises(UnsupportedImage, match=r"x\.png"):
        Looks().open(["https://example.org/x.png"])
