"""README's recipes, run as they are printed, with the toy in place of the large model.

What cannot be the same here is replaced: the model's name in Python, and the house's address. A
shell's `mistral-small-edge` is this checkout's.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.toy.drawings import draw
from scripts.vision_score import as_png

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PATIENCE = 200  # seconds; a model is tried when it is first loaded, and neighbours make that long
MODEL = "mistral-small-3.2"
HOUSE = "http://house.local:8080"

pytestmark = pytest.mark.model


def blocks(heading: str, language: str) -> list[str]:
    """What is printed under a heading, in a language."""
    section = README.split(f"\n### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found
    return found


@dataclass(frozen=True)
class Desk:
    """A folder to work in, and a shell that knows our program there."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "MISTRAL_SMALL_EDGE_MODEL": "toy"}

    def put(self, name: str, content: str | bytes) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        return self._run("sh", "-c", script)

    def python(self, script: str, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        assert script.count(f'"{MODEL}"') == 1
        self.put("recipe.py", script.replace(f'"{MODEL}"', '"toy"'))
        return self._run(sys.executable, "recipe.py", *words, typed=typed)

    def _run(self, *command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=typed,
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=self.folder,
            env=self.environment,
            timeout=PATIENCE,
            check=False,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "mistral-small-edge"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mistral_small_edge "$@"\n')
    program.chmod(0o755)
    (tmp_path / "a desk").mkdir()
    return Desk(tmp_path / "a desk")


def test_a_diff_is_reviewed_and_no_diff_is_not(desk: Desk) -> None:
    [script] = blocks("Review a diff", "sh")
    git = "git -c user.name=a -c user.email=a@example.org"
    desk.put("sums.py", "def add(a, b):\n    return a + b\n")
    desk.shell(f"git init -qb main . && git add . && {git} commit -qm 'Add'")
    unchanged = desk.shell(script)
    assert (unchanged.stdout, unchanged.stderr) == ("", "")
    desk.put("sums.py", 'def add(a, b):\n    return a - b  # "$quoted" `words` %s\n')
    reviewed = desk.shell(script)
    assert reviewed.returncode == 0, reviewed.stderr
    assert reviewed.stdout.strip()


def test_a_folder_of_pictures_is_described(desk: Desk) -> None:
    [script] = blocks("Describe a folder of pictures to CSV", "python")
    names = ("pictures/a.png", 'pictures/two, "three".PNG', "pictures/é/b.png")
    drawings = {name: draw(random.Random(name), 112, 112) for name in names}
    for name, drawing in drawings.items():
        desk.put(name, as_png(drawing))
    desk.put("pictures/broken.jpg", "no picture")
    desk.put("pictures/notes.txt", "no picture either")
    done = desk.python(script, "pictures")
    assert done.returncode == 0, done.stderr
    assert "broken.jpg: " in done.stderr
    head, *rows = csv.reader(done.stdout.splitlines())
    assert head == ["file", "description"]
    said = dict(rows)
    assert set(said) == set(drawings)
    for name, drawing in drawings.items():
        assert drawing.figures[0].phrase in said[name].lower()


def test_invoices_become_json(desk: Desk) -> None:
    [script] = blocks("JSON out of invoices", "sh")
    desk.put("invoices/may.txt", "Baker & Sons\nInvoice of 3 May 2026\nTotal: EUR 41.50\n")
    desk.put("invoices/a $late one.txt", "Miller Ltd, 2026-06-01, 12 bags at 10 USD: 120 USD\n")
    desk.put("invoices/empty bytes.txt", b"\xff\xfe")
    done = desk.shell(script)
    assert "not UTF-8" in done.stderr
    found = sorted(file.name for file in (desk.folder / "invoices").iterdir())
    assert [name for name in found if not name.endswith(".txt")] == ["a $late one.json", "may.json"]
    schema = json.loads((desk.folder / "invoice.schema.json").read_text())
    for name in ("a $late one.json", "may.json"):
        invoice = json.loads((desk.folder / "invoices" / name).read_text())
        jsonschema.validate(invoice, schema)


def test_a_file_longer_than_the_context_is_translated(desk: Desk) -> None:
    [script] = blocks("Translate a file", "python")
    letter = "\n\n".join(f"Letter {number}. {'The sky is blue. ' * 100}" for number in range(3))
    done = desk.python(script, "French", typed=f"{letter}\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")
    assert len([piece for piece in done.stdout.split("\n\n") if piece.strip()]) == 3


[_cut] = re.findall(r'^PIECE = re\.compile\(r"(.*)"\)$', README, re.MULTILINE)
PIECE = re.compile(_cut)


@given(
    st.lists(st.sampled_from(["word ", "\n", " \n\n", "x" * 700, "long " * 300, "é"]), max_size=40)
)
def test_no_piece_is_long_and_none_is_lost(parts: list[str]) -> None:
    text = "".join(parts)
    pieces = PIECE.findall(text)
    assert "".join(pieces) == text
    assert all(len(piece.strip()) <= 2000 for piece in pieces)


def test_a_house_is_served(desk: Desk) -> None:
    serve, ask = blocks("Serve a house", "sh")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    here = f"--host 127.0.0.1 --port {port} --alias {MODEL}"
    server = subprocess.Popen(
        ["sh", "-c", serve.replace("--host 0.0.0.0", here)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=desk.folder,
        env=desk.environment,
        start_new_session=True,
    )
    with server:
        assert server.stderr is not None
        try:
            said = [server.stderr.readline() for _ in range(2)]
            assert "2 slots" in said[1], said
            keys = (desk.folder / "house.keys").read_text().split()
            client = ask.replace(HOUSE, f"http://127.0.0.1:{port}").replace("ada-…", keys[0])
            done = desk.shell(client)
            refused = desk.shell(client.replace(keys[0], "ada-guessed"))
        finally:
            os.killpg(server.pid, signal.SIGTERM)
    assert [key[:4] for key in keys] == ["ada-", "ben-"]
    assert (desk.folder / "house.keys").stat().st_mode & 0o077 == 0
    assert done.returncode == 0, done.stderr
    answer, whole = done.stdout.splitlines()
    assert answer
    assert json.loads(whole)["choices"][0]["message"]["content"]
    assert refused.returncode != 0
