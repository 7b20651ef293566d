"""What outlives the program, by default and otherwise; and `cache`, which shows and deletes it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mistral_small_edge import places
from mistral_small_edge.cli import options
from mistral_small_edge.file_cache import IMAGES, PROMPTS, FileCache, Label
from tests.cli.pty_driver import PtyProgram

PROGRAM = (sys.executable, "-m", "mistral_small_edge")
QUICK = ("--model", "toy", "--threads", "1", "--context", "1024", "--temperature", "0")
BRIEF = ("--max-tokens", "2")
PATIENCE = 120  # seconds
HANDBOOK = "The harbour master writes the arrival of every ship into a large book. " * 15


class Home:
    """A folder for caches of its own, and what runs with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cache"
        self.environment = {**os.environ, places.MOVED_BY: str(self.folder)}

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def cached_tokens(self, *arguments: str) -> int:
        """Of a question, how many tokens were not read again."""
        done = self.run("ask", *QUICK, *BRIEF, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        usage: dict[str, Any] = json.loads(done.stdout)["usage"]
        cached: int = usage["prompt_tokens_details"]["cached_tokens"]
        return cached

    def prompts(self) -> list[Path]:
        return list(self.folder.glob("prompts/*"))

    def images(self) -> list[Path]:
        return list(self.folder.glob("images/*"))

    def fill(self) -> None:
        """As two prompts, a picture, what is torn and what is the user's own."""
        for name, size in (("one", 1000), ("two", 2_000_000)):
            prompts = FileCache(self.folder / "prompts", PROMPTS)
            os.utime(prompts.write(name, [bytes(size)], Label("a:model", size)), (size, size))
        FileCache(self.folder / "images", IMAGES).write("look", [b"x"], Label("\x1b[31mred", 4))
        (self.folder / "prompts" / "torn.prefix").write_bytes(b"MSECACH2")
        (self.folder / "prompts" / "mine.txt").write_text("of the user's")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.model
def test_a_system_prompt_is_read_once(home: Home) -> None:
    system = ("--system", HANDBOOK)
    assert home.cached_tokens(*system, "Who writes?") == 0
    (path,) = home.prompts()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert home.cached_tokens(*system, "Where to?") > 128
    assert home.prompts() == [path], "another question is not worth a second file"
    assert home.cached_tokens(*system, "--no-prompt-cache", "Where to?") == 0
    listed = json.loads(home.run("cache", "list", "--json").stdout)
    assert [(each["kind"], each["model"]) for each in listed] == [("prompt", "toy:f16")]


@pytest.mark.model
@pytest.mark.parametrize(
    "arguments",
    [
        ("--system", HANDBOOK, "--no-prompt-cache", "Who writes?"),
        ("--system", "Be brief.", "Who writes?"),
        (HANDBOOK + "Who writes?",),
    ],
    ids=["off", "short", "no system prompt"],
)
def test_what_is_not_to_be_kept_is_not(home: Home, arguments: tuple[str, ...]) -> None:
    assert home.cached_tokens(*arguments) == 0
    assert home.prompts() == []


@pytest.mark.model
def test_a_picture_is_looked_at_once_across_runs(home: Home, tmp_path: Path) -> None:
    Image.new("RGB", (84, 56), "red").save(tmp_path / "red.png")
    shown = ("--image", str(tmp_path / "red.png"))
    home.cached_tokens(*shown, "--no-image-cache", "What is it?")
    assert home.images() == []
    home.cached_tokens(*shown, "What is it?")
    (path,) = home.images()
    path.touch()
    before = path.stat().st_mtime_ns
    home.cached_tokens(*shown, "What colour is it?")
    assert path.stat().st_mtime_ns > before
    assert home.images() == [path]


def until_there(home: Home) -> None:
    """Wait until a conversation is on disk, whole."""
    never = threading.Event()
    for _ in range(20 * PATIENCE):
        if any(path.suffix == ".prefix" for path in home.prompts()):
            return
        never.wait(0.05)
    raise AssertionError(f"nothing is kept after {PATIENCE} seconds")


def converse(home: Home, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, "chat", *QUICK, *BRIEF, "--stats", *options],
        env=home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ask_once(chat: subprocess.Popen[bytes]) -> bytes:
    """Its statistics; the conversation goes on."""
    assert chat.stdin is not None
    assert chat.stderr is not None
    chat.stdin.write(HANDBOOK.encode() + b"Who writes?\n")
    chat.stdin.flush()
    return next(line for line in chat.stderr if b"prompt tokens" in line)


@pytest.mark.model
def test_a_killed_conversation_keeps_what_it_had_read(home: Home) -> None:
    with converse(home) as chat:
        try:
            assert b"cached" not in ask_once(chat)
            until_there(home)
        finally:
            chat.kill()  # as a power cut does: nothing is closed
    with converse(home) as again:
        try:
            found = re.search(rb"\((\d+) cached\)", ask_once(again))
            assert found is not None
            assert int(found[1]) > 128
        finally:
            again.kill()


@pytest.mark.model
def test_a_conversation_that_is_not_to_be_kept_is_not(home: Home) -> None:
    with converse(home, "--no-prompt-cache") as chat:
        ask_once(chat)
        chat.communicate(timeout=PATIENCE)
    assert chat.returncode == 0
    assert home.prompts() == []


@pytest.mark.model
def test_a_damaged_file_is_read_again_and_nobody_notices(home: Home) -> None:
    system = ("--system", HANDBOOK, "Who writes?")
    answer = home.run("ask", *QUICK, *system)
    (path,) = home.prompts()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = home.run("ask", *QUICK, *system)
    assert (again.returncode, again.stdout, again.stderr) == (0, answer.stdout, "")
    assert home.cached_tokens(*system) > 128, "it was written again"


@pytest.mark.model
def test_a_folder_that_takes_nothing_is_told_only_to_who_asks(home: Home) -> None:
    home.folder.write_text("in the way")
    system = ("--system", HANDBOOK, "Who writes?")
    done = home.run("ask", *QUICK, *system)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is not kept for later" in home.run("ask", *QUICK, "--verbose", *system).stderr


def test_the_list_says_what_lies_where(home: Home) -> None:
    home.fill()
    done = home.run("cache", "list")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("prom", "pict"))]
    assert [row[:5] for row in rows] == [
        ["prompt", "a:model", "1,000", "1.1", "kB"],
        ["prompt", "a:model", "2,000,000", "2.0", "MB"],
        ["prompt", "?", "?", "8", "bytes"],
        ["picture", "�[31mred", "4", "84", "bytes"],
    ]
    assert done.stderr.splitlines() == [
        f"prompts: 3 files, 2.0 MB of at most 8.0 GB in {home.folder / 'prompts'}",
        f"pictures: 1 file, 84 bytes of at most 2.0 GB in {home.folder / 'images'}",
    ]


def test_the_list_for_programs(home: Home) -> None:
    home.fill()
    first, _, torn, _ = json.loads(home.run("cache", "list", "--json").stdout)
    assert first == {
        "kind": "prompt",
        "model": "a:model",
        "tokens": 1000,
        "bytes_on_disk": FileCache(home.folder / "prompts", PROMPTS).files()[0].size,
        "last_used": "1970-01-01T00:16:40+00:00",
        "path": str(home.folder / "prompts" / "one.prefix"),
    }
    assert (torn["model"], torn["tokens"]) == (None, None)


def test_what_a_worker_was_sent_is_counted_and_cleared(home: Home) -> None:
    folder = home.folder / "tensors"
    folder.mkdir(parents=True)
    for name in ("0123456789abcdef", "fedcba9876543210", "lock"):
        (folder / name).write_bytes(bytes(1000))
    done = home.run("cache", "list")
    assert done.stdout == ""
    assert f"tensors: 2 files, 2.0 kB in {folder}" in done.stderr
    listed = json.loads(home.run("cache", "list", "--json").stdout)
    assert [(each["kind"], each["model"]) for each in listed] == [("tensor", None)] * 2
    assert home.run("cache", "clear", "--prompts", "--yes").stderr.startswith("nothing is kept")
    assert home.run("cache", "clear", "--tensors", "--yes").stderr == "2.0 kB freed\n"
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_nothing_is_kept_yet(home: Home) -> None:
    done = home.run("cache", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "prompts: 0 files, 0 bytes of at most 8.0 GB" in done.stderr
    assert home.run("cache", "list", "--json").stdout == "[]\n"
    done = home.run("cache", "clear", "--yes")
    assert (done.returncode, done.stderr) == (0, "nothing is kept: nothing to delete\n")
    assert not home.folder.exists()


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ((), ["mine.txt"]),
        (("--prompts",), ["look.vectors", "mine.txt"]),
        (("--images",), ["mine.txt", "one.prefix", "torn.prefix", "two.prefix"]),
        (("--images", "--prompts"), ["mine.txt"]),
    ],
)
def test_clear_deletes_what_is_its_own(
    home: Home, choice: tuple[str, ...], left: list[str]
) -> None:
    home.fill()
    promised = home.run("cache", "clear", *choice, "--dry-run").stderr
    assert re.fullmatch(r"\d files?, .+ would be deleted\n", promised)
    assert len([*home.prompts(), *home.images()]) == 5
    done = home.run("cache", "clear", *choice, "--yes")
    assert done.returncode == 0
    freed = re.fullmatch(r"(.+) freed\n", done.stderr)
    assert freed is not None
    assert freed[1] in promised
    assert sorted(path.name for path in (*home.prompts(), *home.images())) == left


def test_clear_asks_for_a_yes(home: Home) -> None:
    home.fill()
    done = home.run("cache", "clear")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert len(home.prompts()) == 4


@pytest.mark.parametrize(("answer", "remains"), [("y", False), ("n", True)])
def test_clear_asks_a_person(home: Home, answer: str, remains: bool) -> None:
    home.fill()
    with PtyProgram(
        [*PROGRAM, "cache", "clear", "--images"],
        environment={**home.environment, "TERM": "xterm"},
        directory=home.folder,
    ) as program:
        program.expect("Delete 1 file, 84 bytes? [y/N]: ")
        program.send(f"{answer}\r")
        assert program.wait() == (1 if remains else 0)
    assert bool(home.images()) is remains


def test_what_cannot_be_deleted_is_told(home: Home) -> None:
    (home.folder / "prompts" / "a.prefix").mkdir(parents=True)
    done = home.run("cache", "clear", "--yes")
    assert done.returncode == 1
    assert "error: 1 file" in done.stderr


def test_a_folder_of_ones_own(home: Home, tmp_path: Path) -> None:
    own = tmp_path / "own"
    FileCache(own, PROMPTS).write("a", [b"x"], Label("a:model", 7))
    listed = json.loads(home.run("cache", "list", "--json", "--prompt-cache", str(own)).stdout)
    assert [each["tokens"] for each in listed] == [7]
    home.environment["MISTRAL_SMALL_EDGE_PROMPT_CACHE"] = str(own)
    assert home.run("cache", "clear", "--yes").returncode == 0
    assert list(own.iterdir()) == []


def test_where_a_cache_is() -> None:
    chosen, usual = Path("chosen"), Path("usual")

    def homeless() -> Path:
        raise OSError("no home")

    assert options.folder(chosen, lambda: usual) == chosen
    assert options.folder(None, lambda: usual) == usual
    assert options.folder(None, None) is None
    assert options.folder(chosen, lambda: usual, off=True) is None
    assert options.folder(None, homeless) is None
    assert options.folder(chosen, homeless) == chosen
