"""Texts that go with a message: read whole or refused, and set apart from what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mistral_small_edge.cli import attachments
from mistral_small_edge.cli.attachments import Attached, with_attached
from mistral_small_edge.errors import InvalidRequest


def test_a_message_has_its_texts_before_it() -> None:
    code, note = Attached("f.py", "pass\n"), Attached("note.md", "a\n````\nb\n````")
    assert with_attached([code, note], "Explain.").split("\n\n") == [
        "f.py\n```\npass\n```",
        "note.md\n`````\na\n````\nb\n````\n`````",
        "Explain.",
    ]
    assert with_attached([], "Explain.") == "Explain."


@settings(deadline=None)
@given(st.text(st.sampled_from("`\n a"), max_size=20))
def test_no_text_closes_its_fence(text: str) -> None:
    _, fence, *inside, end = Attached("f", text).block.split("\n")
    assert end == fence
    assert fence not in (line.strip() for line in inside)
    ended = text if not text or text.endswith("\n") else text + "\n"
    assert "".join(f"{line}\n" for line in inside) == ended


def test_files_are_texts_or_pictures(tmp_path: Path) -> None:
    (tmp_path / "BMW.txt").write_bytes(b"\xef\xbb\xbfBMW is no bitmap: \xc3\xa9\r\n")
    (tmp_path / "empty").touch()
    Image.new("RGB", (30, 30)).save(tmp_path / "a.bmp")
    names = [str(tmp_path / name) for name in ("a.bmp", "BMW.txt", "empty")]
    found = attachments.read(names)
    assert found.texts == (Attached("BMW.txt", "BMW is no bitmap: é\r\n"), Attached("empty", ""))
    assert found.pictures == (names[0],)
    assert found.texts[0].said == "BMW.txt: 1 line, 22 bytes"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe", "x is a file of an unknown kind, not UTF-8 text"),
        (b"a\0b", "x is a file of an unknown kind, not UTF-8 text"),
        (b"%PDF-1.7 \xff", "x is a PDF document, not UTF-8 text"),
        (b"a" * (attachments.MAX_BYTES + 1), "x is larger than 1.0 MB, which no context holds"),
    ],
)
def test_what_is_neither_is_refused(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidRequest) as raised:
        attachments.read([str(path)])
    assert str(raised.value).endswith(sentence)


@pytest.mark.parametrize("name", ["~nobodyatall/x", "a\0b", "/"])
def test_what_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        attachments.read([name])
