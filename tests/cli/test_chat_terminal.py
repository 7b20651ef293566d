"""`chat` as a person meets it: in a pseudo-terminal, keys in, screen out."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.cli.pty_driver import ALT_ENTER, CTRL_C, CTRL_D, ENTER, UP, PtyProgram

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SCRIPTED = (sys.executable, "-m", "tests.cli.scripted_llm")
PROMPT = "or /help"


def environment(state: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(state), "TERM": "xterm-256color"}


def start(state: Path, *arguments: str) -> PtyProgram:
    return PtyProgram([*SCRIPTED, *arguments], environment=environment(state), directory=ROOT)


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[PtyProgram]:
    """A conversation that waits for its first message."""
    with start(tmp_path) as program:
        program.expect(PROMPT)
        yield program


def ask(chat: PtyProgram, keys: str, answer: str) -> str:
    """Type a line and wait for its answer and the next prompt; returns what was on the screen."""
    chat.send(keys + ENTER)
    return chat.expect(answer) + chat.expect(PROMPT)


def said(chat: PtyProgram) -> list[str]:
    """The conversation as the model sees it, by asking it."""
    screen = ask(chat, "what was said?", '"user: what was said?"]')
    messages: list[str] = json.loads(screen[screen.index("[") : screen.rindex("]") + 1])
    return messages[:-1]


def test_a_message_is_answered_and_ctrl_d_leaves(chat: PtyProgram) -> None:
    ask(chat, "hello", "you said 'hello'")
    assert said(chat) == ["user: hello", "assistant: you said 'hello'"]
    chat.send(CTRL_D)
    assert chat.wait() == 0


def test_exit_leaves_too(chat: PtyProgram) -> None:
    chat.send("/exit" + ENTER)
    assert chat.wait() == 0


def test_ctrl_c_stops_an_answer_and_keeps_what_was_written(chat: PtyProgram) -> None:
    chat.send("write forever" + ENTER)
    chat.expect("one two three")
    chat.send(CTRL_C)
    chat.expect("Stopped; what was written stays")
    chat.expect(PROMPT)
    assert said(chat) == ["user: write forever", "assistant: one two three"]


def test_ctrl_c_while_the_prompt_is_read_takes_the_message_back(chat: PtyProgram) -> None:
    chat.send("read forever" + ENTER)
    chat.expect("Reading the prompt")
    chat.send(CTRL_C)
    chat.expect("Stopped before the first word")
    chat.expect(PROMPT)
    assert said(chat) == []
    assert chat.raw.count(b"\x1b[?25l") <= chat.raw.count(b"\x1b[?25h")  # the cursor is back


def test_ctrl_c_at_the_prompt_drops_the_line_and_then_tells_how_to_leave(chat: PtyProgram) -> None:
    chat.send("never sent" + CTRL_C)
    assert "Ctrl-D" not in chat.expect(PROMPT)
    chat.send(CTRL_C)
    chat.expect("Ctrl-D or /exit leaves.")
    chat.expect(PROMPT)
    chat.send("nor this" + CTRL_C)
    assert "Ctrl-D" not in chat.expect(PROMPT)
    chat.send(CTRL_C)
    chat.expect(PROMPT)
    assert said(chat) == []


@pytest.mark.parametrize(
    ("keys", "question"),
    [
        (f"one{ALT_ENTER}two", "one\ntwo"),
        (f"one\\{ENTER}two", "one\ntwo"),
        ("\x1b[200~one\ntwo \\\n  three\n\x1b[201~", "one\ntwo \\\n  three"),
        (f'"""{ENTER}one{ENTER}{ENTER}two"""', "one\n\ntwo"),
        ("//help", "/help"),
        ("h\xe9 \N{SNOWMAN}", "h\xe9 \N{SNOWMAN}"),
    ],
    ids=["alt-enter", "backslash", "paste", "fence", "slash", "unicode"],
)
def test_what_is_typed_is_what_is_asked(chat: PtyProgram, keys: str, question: str) -> None:
    ask(chat, keys, f"you said {question!r}")


def test_bytes_that_are_no_text_do_not_end_the_conversation(chat: PtyProgram) -> None:
    chat.send(b"a\xffb" + ENTER.encode())
    chat.expect("you said 'a?b'")
    chat.expect(PROMPT)


def test_history_lasts_across_runs_and_is_private(tmp_path: Path) -> None:
    with start(tmp_path) as first:
        first.expect(PROMPT)
        ask(first, f"two{ALT_ENTER}lines", r"you said 'two\nlines'")
        ask(first, "too long", "error: the prompt has 9000 tokens")
        first.send(CTRL_D)
        assert first.wait() == 0
    with start(tmp_path) as second:
        second.expect(PROMPT)
        ask(second, UP, "error: the prompt has 9000 tokens")
        ask(second, UP + UP, r"you said 'two\nlines'")
    [history] = (tmp_path / "mistral-small-edge").iterdir()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700


def test_history_that_cannot_be_kept_is_one_note(tmp_path: Path) -> None:
    (tmp_path / "mistral-small-edge").write_text("a file where a directory is wanted")
    with start(tmp_path) as chat:
        assert "History lasts for this run only" in chat.expect(PROMPT)
        ask(chat, "hello", "you said 'hello'")
        ask(chat, UP, "you said 'hello'")
        assert chat.raw.count(b"History lasts") == 1


def test_history_that_is_lost_on_the_way_is_one_note(tmp_path: Path) -> None:
    with start(tmp_path) as chat:
        chat.expect(PROMPT)
        history = tmp_path / "mistral-small-edge" / "chat_history"
        history.unlink()
        history.mkdir()
        ask(chat, "hello", "you said 'hello'")
        ask(chat, "again", "you said 'again'")
        ask(chat, UP + UP, "you said 'hello'")
        assert chat.raw.count(b"History lasts for this run only from here") == 1


def test_tab_completes_commands_and_settings(chat: PtyProgram) -> None:
    ask(chat, "/und\t", "error: nothing to undo")
    ask(chat, "/set temp\t 0.5", "temperature is 0.5 from the next answer on.")


def test_tab_chooses_among_several(chat: PtyProgram) -> None:
    chat.send("/s")
    chat.expect("/stats")  # the menu is there
    ask(chat, 5 * "\t", "model          scripted")


def test_a_picture_is_named_with_tab_and_goes_with_the_next_message(
    chat: PtyProgram, tmp_path: Path
) -> None:
    Image.new("RGB", (60, 30)).save(tmp_path / "a picture.png")
    ask(chat, f"/image {tmp_path}/a\t", "a picture.png: 60x30 pixels, 8 tokens")
    ask(chat, "/image", "Pictures with the next message: a picture.png")
    ask(chat, "hello", "you said 'hello'")
    ask(chat, "/image", "Pictures with the next message: none")


def test_commands_change_the_conversation(chat: PtyProgram) -> None:
    ask(chat, "/help", "Ctrl-D")
    ask(chat, "first", "you said 'first'")
    ask(chat, "second", "you said 'second'")
    ask(chat, "/retry", "you said 'second'")
    ask(chat, "/undo", "Taken back: second")
    ask(chat, "/system Be brief.", "System prompt set.")
    assert said(chat) == ["system: Be brief.", "user: first", "assistant: you said 'first'"]
    ask(chat, "/clear", "The conversation is empty")
    assert said(chat) == ["system: Be brief."]


def test_a_mistake_is_one_line_and_the_loop_goes_on(chat: PtyProgram) -> None:
    ask(chat, "/set temperature hot", "error: temperature is 'hot'; it must be a number")
    ask(chat, "/set temperature 3", "error: temperature is 3.0; it must lie between 0 and 2")
    ask(chat, "/sing", "error: no command '/sing'; there are: /help /exit")
    ask(chat, "too long", "Shorten the message, or restart with --context 9000 or more.")
    ask(chat, "hello", "you said 'hello'")
    ask(chat, "too long", "Make room with /undo or /clear")
    assert said(chat) == ["user: hello", "assistant: you said 'hello'"]


def test_the_terminal_obeys_no_model(chat: PtyProgram) -> None:
    ask(chat, "escapes", "�[31mred�]0;title� �2J�over\ttab")
    assert b"\x1b[31mred" not in chat.raw
    assert b"\x1b]0;" not in chat.raw
    assert "\x9b".encode() not in chat.raw


def test_answers_may_be_piped_away(tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    with (
        answers.open("wb") as stdout,
        PtyProgram(
            SCRIPTED, environment=environment(tmp_path), directory=ROOT, stdout=stdout
        ) as chat,
    ):
        chat.expect(PROMPT)
        chat.send("escapes" + ENTER)
        chat.expect(PROMPT)
        chat.send(CTRL_D)
        assert chat.wait() == 0
    assert answers.read_bytes() == "\x1b[31mred\x1b]0;title\x07 \x9b2J\rover\ttab\nline\n".encode()


@pytest.mark.model
def test_a_real_model_talks_and_can_be_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mistral_small_edge", "chat", "--model", "demo"]
    options = ["--temperature", "0", "--max-tokens", "4", "--context", "2048", "--stats"]
    with PtyProgram(
        [*command, *options], environment=environment(tmp_path), directory=ROOT
    ) as chat:
        chat.expect("Loading demo")
        chat.expect(PROMPT)
        ask(chat, "Name three colours.", " tok/s")
        assert "cached)" in ask(chat, "And three animals.", " tok/s")
        ask(chat, "/set max_tokens none", "max_tokens is none")
        ask(chat, "/clear", "The conversation is empty")
        chat.send("Write a long story about the sea." + ENTER)
        chat.expect(" and ")
        chat.send(CTRL_C)
        chat.expect("Stopped; what was written stays in the conversation.")
        chat.expect(PROMPT)
        ask(chat, "/set max_tokens 4", "max_tokens is 4")
        ask(chat, "Go on.", " tok/s")
        chat.send(CTRL_D)
        assert chat.wait() == 0
