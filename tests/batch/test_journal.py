"""Results on disk: whatever the process is killed at, nothing is lost and nothing is there twice."""

from __future__ import annotations

import json
import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.batch.journal import Journal
from mistral_small_edge.batch.results import Result
from mistral_small_edge.errors import InvalidRequest, ResultsNotKept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDS = {name: f"batch_req_{name}" for name in ("a", "b", "c", "d", "e")}
NAME = "requests.jsonl"


def result(name: str, text: str = "", status: int = 200) -> Result:
    return Result(IDS[name], name, status, {"text": text or f"{name}, señor \ud83d"})


def said(path: Path) -> list[tuple[str, str]]:
    """The results in a file: whose, and what."""
    lines = map(json.loads, path.read_bytes().splitlines())
    return [(one["custom_id"], one["response"]["body"]["text"]) for one in lines]


def answer_all(path: Path, *, order: str = "abcde", retry_failed: bool = False) -> list[str]:
    """A run that is not disturbed; returns the requests that it had to do."""
    with Journal(path) as journal:
        journal.check(IDS, NAME, retry_failed=retry_failed)
        pending = [name for name in order if name not in journal]
        for name in pending:
            journal.add(result(name))
        journal.finish(IDS)
    return pending


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


WHOLE = [(name, f"{name}, señor \ud83d") for name in IDS]


def test_results_stand_in_the_order_of_the_requests(path: Path) -> None:
    assert answer_all(path, order="daceb") == list("daceb")
    assert said(path) == WHOLE
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    line = json.loads(path.read_bytes().splitlines()[0])
    assert list(line) == ["id", "custom_id", "response", "error"]
    assert (line["id"], line["error"]) == (IDS["a"], None)
    assert list(line["response"]) == ["status_code", "request_id", "body"]


def test_what_is_done_is_not_done_again(path: Path) -> None:
    answer_all(path)
    before = path.read_bytes()
    assert answer_all(path) == []
    assert path.read_bytes() == before


@settings(max_examples=40, deadline=None)
@given(order=st.permutations("abcde"), share=st.floats(0, 1))
def test_killed_at_any_byte_it_goes_on(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], share: float
) -> None:
    path = tmp_path_factory.mktemp("killed") / "results.jsonl"
    with Journal(path) as journal:
        for name in order:
            journal.add(result(name))
        partial = journal.partial
    written = partial.read_bytes()
    cut = round(share * len(written))
    partial.write_bytes(written[:cut])
    assert answer_all(path) == sorted(order[written[:cut].count(b"\n") :])
    assert said(path) == WHOLE
    assert not partial.exists()


def test_killed_between_the_last_result_and_the_order(path: Path) -> None:
    with Journal(path) as journal:
        for name in "edcba":
            journal.add(result(name))
        left = journal.partial.read_bytes()
        journal.finish(IDS)
    journal.partial.write_bytes(left)  # renamed, and not yet removed
    path.with_name("results.jsonl.ordered").write_bytes(b'{"cut off')
    assert answer_all(path) == []
    assert said(path) == WHOLE
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def failing(path: Path) -> None:
    with Journal(path) as journal:
        for name in IDS:
            journal.add(result(name, "refused", 400) if name in "bd" else result(name))
        assert journal.num_failed == 2
        journal.finish(IDS)


def test_failures_are_kept_until_they_are_to_be_done_again(path: Path) -> None:
    failing(path)
    assert answer_all(path) == []
    assert dict(said(path))["b"] == "refused"
    assert answer_all(path, retry_failed=True) == ["b", "d"]
    assert said(path) == WHOLE
    assert answer_all(path, retry_failed=True) == []


def test_killed_while_failures_are_done_again(path: Path) -> None:
    failing(path)
    with Journal(path) as journal:
        journal.check(IDS, NAME, retry_failed=True)
        journal.add(result("b"))
    assert answer_all(path, retry_failed=True) == ["d"]
    assert said(path) == WHOLE


def test_failed_requests_may_be_mended_and_others_may_not(path: Path) -> None:
    failing(path)
    for name, retry, fits in (("b", True, True), ("b", False, False), ("a", True, False)):
        with Journal(path) as journal:
            if fits:
                journal.check({**IDS, name: "mended"}, NAME, retry_failed=retry)
                assert name not in journal
            else:
                with pytest.raises(InvalidRequest, match=f"of '{name}', which is another request"):
                    journal.check({**IDS, name: "mended"}, NAME, retry_failed=retry)


def test_requests_may_be_added_and_not_taken_away(path: Path) -> None:
    answer_all(path)
    with Journal(path) as journal:
        journal.check({**IDS, "f": "new"}, NAME)
        assert "f" not in journal
        with pytest.raises(InvalidRequest, match=r"of 'e', which is not in requests\.jsonl"):
            journal.check({name: IDS[name] for name in "abcd"}, NAME)


@pytest.mark.parametrize("content", [b"words\n", b"{}", b'{"custom_id": "a"}\n', b"[1]\n\n"])
def test_a_file_of_something_else_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match="line 1, is no result of a batch"):
        Journal(path)
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_place_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, words in (
        ("fifo", "no ordinary file"),
        (".", "no ordinary file"),
        ("nosuch/results", "No such file or directory"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            Journal(tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["fifo"]


def test_two_runs_are_not_at_work_on_the_same_results(path: Path) -> None:
    with Journal(path) as journal:
        with pytest.raises(InvalidRequest, match="another run is at work"):
            Journal(path)
        journal.add(result("a"))
    with Journal(path) as journal:
        assert "a" in journal


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that has no more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_result_that_the_disk_takes_half_of(path: Path) -> None:
    with Journal(path) as journal:
        journal.add(result("a"))
        size = journal.partial.stat().st_size
        with (
            files_of_at_most(size + 20),
            pytest.raises(ResultsNotKept, match=r"results\.jsonl\.partial cannot be written"),
        ):
            journal.add(result("b"))
        assert journal.partial.stat().st_size == size + 20
        assert "b" not in journal
    assert answer_all(path) == ["b", "c", "d", "e"]
    assert said(path) == WHOLE


def test_an_order_that_the_disk_does_not_take_loses_nothing(path: Path) -> None:
    with Journal(path) as journal:
        for name in IDS:
            journal.add(result(name))
        path.mkdir()  # in the way of the rename
        with pytest.raises(ResultsNotKept, match="cannot be written"):
            journal.finish(IDS)
    path.rmdir()
    assert answer_all(path) == []
    assert said(path) == WHOLE
