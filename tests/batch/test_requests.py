"""The file of requests: what it may hold, and which of its mistakes are told before anything is loaded."""

from __future__ import annotations

import io
import json

import pytest

from mistral_small_edge.batch.requests import CHAT, TEXT, RequestFile
from mistral_small_edge.errors import InvalidRequest
from tests.batch.lines import line, question

FIRST = line("a", question("One"))
SECOND = line("b", {"model": "toy", "prompt": "Two"}, TEXT)


def read(*lines: str | bytes) -> RequestFile:
    spelt = [one if isinstance(one, bytes) else one.encode() for one in lines]
    return RequestFile(io.BytesIO(b"\n".join(spelt)), "requests.jsonl")


def test_requests_come_in_the_order_of_their_lines_as_often_as_they_are_asked_for() -> None:
    file = read(FIRST, "", SECOND + "\r", "  ")
    for _ in range(2):
        assert [(one.custom_id, one.url) for one in file] == [("a", CHAT), ("b", TEXT)]
    assert list(file.ids.items()) == [(one.custom_id, one.id) for one in file]


def test_an_id_is_equal_only_for_the_same_request() -> None:
    spaced = json.dumps(
        dict(reversed(json.loads(FIRST).items())), indent=None, separators=(",", ":")
    )
    (same,) = read(spaced).ids.values()
    others = [
        line("A", question("One")),
        line("a", question("One "), CHAT),
        line("a", question("One"), TEXT),
    ]
    assert read(FIRST).ids["a"] == same
    assert len({same, *(next(iter(read(other).ids.values())) for other in others)}) == 4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        ("[]", "not a JSON object"),
        (line("b", {}, more=1), "'more' is not a field"),
        (line("b", {}, method="GET"), "method is 'GET'"),
        (line("b", {}, "/v1/embeddings"), "url is '/v1/embeddings'"),
        (line("", {}), "custom_id is empty"),
        (FIRST.replace('"a"', "7"), "custom_id is missing, or not a string"),
        (
            '{"custom_id": "b", "method": "POST", "url": "", "body": []}',
            "body is missing, or not an object",
        ),
        ('{"custom_id": "b", "method": "POST", "body": {}}', "url is missing"),
        (FIRST, "custom_id 'a' comes a second time"),
        (b" " * 64_000_001, "longer than 64.0 MB"),
    ],
)
def test_a_line_that_is_no_request_is_refused_by_its_number(wrong: str | bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=r"requests\.jsonl, line 3: ") as caught:
        read(FIRST, "", wrong)
    assert words in str(caught.value)


def test_no_requests_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="has no requests"):
        read("", " ")


def test_what_is_added_later_is_not_looked_at_and_what_is_changed_is_refused() -> None:
    data = io.BytesIO(f"{FIRST}\n{SECOND}\n".encode())
    file = RequestFile(data, "requests.jsonl")
    data.seek(0, io.SEEK_END)
    data.write(line("c", question("Three")).encode())
    assert [one.custom_id for one in file] == ["a", "b"]
    data.seek(0)
    data.write(FIRST.replace("One", "Uno").encode())
    with pytest.raises(InvalidRequest, match="line 1: the file was changed"):
        list(file)
