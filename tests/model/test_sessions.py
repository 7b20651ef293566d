"""A conversation that another process goes on with: the same prompt, and most of it read already."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge import places
from mistral_small_edge.chat.messages import ChatRequest
from mistral_small_edge.llm import LLM
from mistral_small_edge.sessions import Shelf
from scripts.toy.drawings import draw
from scripts.vision_score import as_png
from tests.model.config import engine_config

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.chat.conversation import Conversation

PATIENCE = 120  # seconds
CHAT = (sys.executable, "-m", "mistral_small_edge", "chat", "--threads", "1", "--stats")
QUICK = ("--context", "1024", "--max-tokens", "24")
HANDBOOK = "The harbour master writes the arrival of every ship into a large book. " * 15


class Home:
    """Folders of its own, and a drawing."""

    def __init__(self, folder: Path) -> None:
        import random

        self.data = folder / "data"
        self.drawing = folder / "drawing.png"
        self.drawing.write_bytes(as_png(draw(random.Random("kept"), 168, 140)))
        self._environment = {
            **os.environ,
            places.MOVED_BY: str(folder / "cache"),
            places.DATA_MOVED_BY: str(self.data),
        }

    def chat(self, typed: str, *options: str) -> tuple[list[str], list[tuple[int, int]]]:
        """The answers, and for each the tokens of its prompt and how many were not read again."""
        done = subprocess.run(
            [*CHAT, *QUICK, *options],
            env=self._environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = re.findall(r"(\d+) prompt tokens(?: \((\d+) cached\))?", done.stderr)
        return done.stdout.splitlines(), [(int(all_), int(cached or 0)) for all_, cached in found]

    def conversation(self, name: str) -> Conversation:
        return Shelf(self.data).look(name, pictures=True).session.conversation


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.model
def test_a_resumed_session_is_not_read_again(home: Home) -> None:
    first = f"/image {home.drawing}\n{HANDBOOK}What colour is the shape?\n"
    second = "Where is the shape?\n"
    _, [(before, _)] = home.chat(first, "--model", "toy", "--session", "mine")
    _, [(prompt, cached)] = home.chat(second, "--resume")
    assert cached >= before, "all that was asked, its picture included"
    assert prompt - cached < 24 + 24, "the answer at most, and the new question"


@pytest.mark.model
def test_it_answers_as_if_it_had_not_been_left(home: Home) -> None:
    sure = ("--model", "toy", "--temperature", "0", "--system", "Be brief.")
    first = f"/image {home.drawing}\nWhat colour is the shape?\n"
    second = "Where is the shape?\n"
    whole, _ = home.chat(first + second, *sure, "--session", "whole")
    one, _ = home.chat(first, *sure, "--session", "mine")
    two, _ = home.chat(second, "--session", "mine")
    assert [*one, *two] == whole
    with LLM.load("toy", engine_config(context_length=1024, threads=1)) as llm:
        prompts = [
            llm.prompt_tokens(ChatRequest(home.conversation(name).said[:-1]))
            for name in ("whole", "mine")
        ]
    assert prompts[0] == prompts[1]
    assert home.conversation("whole") == home.conversation("mine"), (
        "pictures bit for bit, and counts"
    )
