"""Sessions on a disk: one process at a time, whole after any death, pictures bit for bit."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.chat.conversation import Exchange, Question
from mistral_small_edge.errors import (
    InvalidRequest,
    SessionDamaged,
    SessionInUse,
    SessionNotFound,
    SessionUnreachable,
)
from mistral_small_edge.images import Image
from mistral_small_edge.images.geometry import CELL
from mistral_small_edge.sessions import Session, Shelf
from mistral_small_edge.sessions.pictures import Pictures
from tests.sessions.talks import ANSWERED, ASKED, ASKED_ANEW, BLUE, RED

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60  # seconds

# Appends all of a line but its end, says so, and waits to be killed.
HALF_A_LINE = """
import os, sys
from pathlib import Path
from mistral_small_edge.sessions import Shelf
from tests.sessions.talks import ANSWERED, ASKED

journal = Shelf(Path(sys.argv[1])).create("mine")
journal.keep(ASKED)
write = os.write
def torn(file, data):
    write(file, data[:-1])
    print("half", flush=True)
    sys.stdin.read()
os.write = torn
journal.keep(ANSWERED)
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "data")


def kept(shelf: Shelf, name: str, *history: Session) -> None:
    journal = shelf.create(name)
    for session in history:
        journal.keep(session)
    journal.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_kept_comes_back_and_goes_on(shelf: Shelf) -> None:
    kept(shelf, "mine", ASKED, ANSWERED)
    journal = shelf.open("mine")
    assert journal.session == ANSWERED
    longer = ANSWERED.conversation.extended(Exchange(Question("And this?", (BLUE,)), "Blue.", 20))
    journal.keep(replace(ANSWERED, conversation=longer))
    journal.close()
    assert shelf.look("mine", pictures=True).session.conversation == longer
    assert shelf.look("mine").session.conversation.exchanges[1].question == Question("And this?")


def test_everything_is_private(shelf: Shelf) -> None:
    kept(shelf, "mine", ANSWERED)
    files = [path for path in shelf.folder.parent.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == sorted(["mine.jsonl", f"{RED.digest}.png"])
    assert {mode(path) for path in files} == {0o600}
    assert {mode(path.parent) for path in files} == {0o700}


def test_only_what_is_new_is_appended(shelf: Shelf) -> None:
    journal = shelf.create("mine")
    sizes = []
    for session in (ASKED, ASKED, ANSWERED, ANSWERED, ASKED_ANEW):
        before = journal.path.read_bytes()
        journal.keep(session)
        assert journal.path.read_bytes().startswith(before)
        sizes.append(journal.path.read_bytes().count(b"\n"))
    assert sizes == [5, 5, 6, 6, 7]


@pytest.mark.parametrize("session", [Session(), replace(ASKED, unanswered=None)])
def test_where_nothing_was_said_no_file_stays(shelf: Shelf, session: Session) -> None:
    kept(shelf, "mine", ASKED, session)
    assert shelf.names() == []


def test_what_was_answered_stays_also_when_it_was_cleared(shelf: Shelf) -> None:
    kept(shelf, "mine", ANSWERED, replace(ANSWERED, conversation=ANSWERED.conversation.cleared()))
    shelf.open("mine").close()
    assert shelf.names() == ["mine"]


def test_killed_in_the_middle_of_a_line_it_is_as_before_that_line(shelf: Shelf) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HALF_A_LINE, str(shelf.folder.parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"half\n"
            with pytest.raises(SessionInUse, match="the session 'mine' is open elsewhere"):
                shelf.open("mine")
            with pytest.raises(SessionInUse):
                shelf.remove("mine")
        finally:
            writer.kill()
    torn = (shelf.folder / "mine.jsonl").read_bytes()
    assert torn.endswith(b"}")
    journal = shelf.open("mine")
    assert journal.session == ASKED
    assert (shelf.folder / "mine.jsonl").read_bytes() == torn, "reading mends nothing"
    journal.keep(ANSWERED)
    journal.close()
    assert shelf.look("mine", pictures=True).session == ANSWERED


@pytest.mark.parametrize("left", [0, 1, 40])
def test_one_that_died_at_its_first_line_begins_anew(shelf: Shelf, left: int) -> None:
    kept(shelf, "mine", ANSWERED)
    path = shelf.folder / "mine.jsonl"
    path.write_bytes(path.read_bytes()[:left])
    journal = shelf.open("mine")
    assert journal.session == Session()
    journal.keep(ANSWERED)
    journal.close()
    assert shelf.look("mine", pictures=True).session == ANSWERED


def test_what_the_disk_did_not_take_is_tried_again(shelf: Shelf) -> None:
    journal = shelf.create("mine")
    journal.keep(ASKED)
    before = journal.path.read_bytes()
    pictures = shelf.folder.parent / "pictures"
    pictures.rename(pictures.with_name("elsewhere"))
    pictures.write_text("in the way")
    blue = replace(ANSWERED, unanswered=Question("And this?", (BLUE,)))
    with pytest.raises(SessionUnreachable, match=r"mine\.jsonl: File exists"):
        journal.keep(blue)
    assert journal.path.read_bytes() == before
    pictures.unlink()
    pictures.with_name("elsewhere").rename(pictures)
    journal.keep(blue)
    journal.close()
    assert shelf.look("mine", pictures=True).session == blue


def test_a_damaged_file_is_left_as_it_is(shelf: Shelf) -> None:
    kept(shelf, "mine", ASKED, ANSWERED)
    path = shelf.folder / "mine.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    damaged = first + b"\0" * 20 + b"\n" + b"".join(rest)
    path.write_bytes(damaged)
    for attempt in (shelf.open, shelf.look):
        with pytest.raises(SessionDamaged, match=r"mine\.jsonl, line 2: it is not JSON"):
            attempt("mine")
    assert path.read_bytes() == damaged


def test_a_picture_that_is_gone_is_named(shelf: Shelf) -> None:
    kept(shelf, "mine", ANSWERED)
    picture = shelf.folder.parent / "pictures" / f"{RED.digest}.png"
    other = shelf.folder.parent / "pictures" / f"{BLUE.digest}.png"
    kept(shelf, "other", replace(ANSWERED, unanswered=Question("", (BLUE,))))
    picture.write_bytes(other.read_bytes())
    with pytest.raises(SessionDamaged, match=r"\.png: it is not the picture that the session sh"):
        shelf.open("mine")
    picture.unlink()
    with pytest.raises(SessionDamaged, match=f"{RED.digest}.png: the session shows a picture, and"):
        shelf.open("mine")
    assert shelf.look("mine").session.title == "What is this?"
    picture.write_bytes(b"")
    with pytest.raises(SessionDamaged, match="it is empty"):
        shelf.look("mine", pictures=True)


@settings(deadline=None, max_examples=30)
@given(columns=st.integers(1, 3), rows=st.integers(1, 3), seed=st.binary(min_size=1, max_size=9))
def test_pictures_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, columns: int, rows: int, seed: bytes
) -> None:
    size = 3 * columns * rows * CELL * CELL
    image = Image.of((seed * size)[:size], columns * CELL, rows * CELL)
    pictures = Pictures(tmp_path_factory.mktemp("pictures"))
    pictures.keep(image)
    assert pictures.open(image.digest) == image


@pytest.mark.parametrize(("columns", "rows"), [(55, 55), (55, 1), (1, 55)])
def test_so_do_the_largest(tmp_path: Path, columns: int, rows: int) -> None:
    width, height = columns * CELL, rows * CELL
    size = 3 * width * height
    image = Image.of((bytes(range(251)) * (size // 251 + 1))[:size], width, height)
    pictures = Pictures(tmp_path)
    pictures.keep(image)
    assert pictures.open(image.digest) == image


def test_the_latest_used_comes_first(shelf: Shelf) -> None:
    with pytest.raises(SessionNotFound, match="no conversation is saved yet"):
        shelf.last()
    for age, name in enumerate(["new", "older", "oldest"]):
        kept(shelf, name, ANSWERED)
        os.utime(shelf.folder / f"{name}.jsonl", (1000 - age, 1000 - age))
    (shelf.folder / "not a name.jsonl").touch()
    assert shelf.names() == ["new", "older", "oldest"]
    journal = shelf.open("older")
    journal.keep(ASKED_ANEW)
    journal.close()
    assert shelf.last() == "older"


def test_a_session_that_is_not_there_is_an_error_with_those_that_are(shelf: Shelf) -> None:
    kept(shelf, "mine", ANSWERED)
    for attempt in (shelf.open, shelf.look, shelf.remove):
        with pytest.raises(SessionNotFound, match="no session 'yours'; the latest are: mine"):
            attempt("yours")


def test_names_are_taken_once(shelf: Shelf) -> None:
    kept(shelf, "mine", ANSWERED)
    with pytest.raises(InvalidRequest, match="there is a session 'mine' already"):
        shelf.create("mine")
    other = shelf.create("other")
    other.keep(ANSWERED)
    with pytest.raises(InvalidRequest, match="there is a session 'mine' already"):
        shelf.rename(other, "mine")
    shelf.rename(other, "third")
    shelf.rename(other, "third")
    other.keep(ASKED_ANEW)
    with pytest.raises(SessionInUse):
        shelf.open("third")
    other.close()
    assert sorted(shelf.names()) == ["mine", "third"]
    assert shelf.look("third", pictures=True).session == ASKED_ANEW


def test_who_names_nothing_gets_names(shelf: Shelf) -> None:
    journals = [shelf.create_for(ASKED) for _ in range(3)]
    names = [journal.name for journal in journals]
    assert names[0].endswith("-what-is-this")
    assert names[1:] == [f"{names[0]}-2", f"{names[0]}-3"]


def test_removed_with_the_pictures_that_nobody_else_shows(shelf: Shelf) -> None:
    kept(shelf, "mine", ANSWERED)
    kept(shelf, "yours", ANSWERED, replace(ANSWERED, unanswered=Question("", (BLUE,))))
    pictures = shelf.folder.parent / "pictures"
    shelf.remove("yours")
    assert [path.stem for path in pictures.iterdir()] == [RED.digest]
    (shelf.folder / "mine.jsonl").write_bytes(b"damaged\n")
    kept(shelf, "third", ANSWERED)
    shelf.remove("third")
    assert [path.stem for path in pictures.iterdir()] == [RED.digest], "it may be the damaged one's"
    shelf.remove("mine")
    assert list(pictures.iterdir()) == []


def test_a_folder_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SessionUnreachable, match="Not a directory"):
        Shelf(tmp_path / "file").create("mine")
    assert Shelf(tmp_path / "file").names() == []
