"""Text comes out whole, stop strings never do; however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.engine.detokenizer import Detokenizer


def feed(pieces: list[bytes], stops: tuple[str, ...]) -> tuple[str, bool]:
    detokenizer = Detokenizer(stops)
    text = "".join(detokenizer.feed(piece) for piece in pieces)
    return text + detokenizer.finish(), detokenizer.stopped


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(borders)]


def expected(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """Character by character: the first stop to be complete, the longest of those."""
    for end in range(len(text) + 1):
        complete = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(complete)], True
    return text, False


@given(
    text=st.text(alphabet="abeé日🙂\u0301", max_size=30),
    stops=st.lists(st.text(alphabet="abé🙂", min_size=1, max_size=4), max_size=4).map(tuple),
    places=st.lists(st.integers(0, 200), max_size=20),
)
def test_any_cut_gives_the_text_before_the_first_stop(
    text: str, stops: tuple[str, ...], places: list[int]
) -> None:
    assert feed(cut(text.encode(), places), stops) == expected(text, stops)


@given(text=st.text(max_size=20))
def test_each_piece_is_whole_characters_and_nothing_waits_without_stops(text: str) -> None:
    detokenizer = Detokenizer()
    shown = ""
    for index, byte in enumerate(text.encode()):
        shown += detokenizer.feed(bytes([byte]))
        assert text.startswith(shown)
        assert len(shown.encode()) > index + 1 - 4
    assert shown == text


def test_text_that_may_begin_a_stop_is_held_and_let_go() -> None:
    detokenizer = Detokenizer(("</end>",))
    assert detokenizer.feed(b"so </e") == "so "
    assert detokenizer.feed(b"nx") == "</enx"
    assert detokenizer.feed(b"</end") == ""
    assert detokenizer.feed(b"> more") == ""
    assert detokenizer.stopped
    assert detokenizer.finish() == ""


def test_the_counts_say_what_is_out() -> None:
    detokenizer = Detokenizer(("xyz",))
    detokenizer.feed("aéxy".encode())
    assert (detokenizer.decoded, detokenizer.released) == (4, 2)
    detokenizer.finish()
    assert detokenizer.released == 4


@pytest.mark.parametrize("broken", [b"\xff", b"a\xe6\x97", b"\xed\xa0\x80"])
def test_broken_bytes_become_replacement_characters(broken: bytes) -> None:
    text, _ = feed([broken], ())
    assert text == broken.decode("utf-8", "replace")
