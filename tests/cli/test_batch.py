"""`batch` from the outside: killed, stopped, repeated, piped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.batch.lines import line, question, write_lines
from tests.cli.pty_driver import CTRL_C, PtyProgram

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = (sys.executable, "-m", "mistral_small_edge", "batch")
OPTIONS = ("--model", "toy", "--threads", "1", "--context", "256")
PATIENCE = 120  # seconds
NUMBER = 160
PACE = "requests/s"  # on the bar as soon as there is a result


def many(path: Path) -> Path:
    """Requests that take some seconds; two of them fail."""
    lines = [
        line(f"request {number}", question(f"What is {number} plus {number % 7}?"))
        for number in range(NUMBER)
    ]
    lines[3] = line("request 3", question("Hello", no_such_field=1))
    lines[-1] = line(f"request {NUMBER - 1}", question("Hello", model="another"))
    return write_lines(path, lines)


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many(tmp_path_factory.mktemp("batch") / "requests.jsonl")


@pytest.fixture(scope="module")
def undisturbed(requests: Path) -> list[tuple[object, ...]]:
    """What a run gives that nothing happens to."""
    done = batch(str(requests), "-o", str(requests.with_name("undisturbed.jsonl")))
    assert done.returncode == 1
    return results(requests.with_name("undisturbed.jsonl"))


def batch(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*BATCH, *arguments, *OPTIONS],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def on_a_terminal(directory: Path, *arguments: str) -> PtyProgram:
    environment = {**os.environ, "TERM": "xterm-256color"}
    return PtyProgram([*BATCH, *arguments, *OPTIONS], environment=environment, directory=directory)


def result(found: bytes) -> tuple[object, ...]:
    """What stays the same of a result."""
    one: dict[str, Any] = json.loads(found)
    body = one["response"]["body"]
    said = body["choices"] if "choices" in body else body["error"]
    return one["id"], one["custom_id"], one["response"]["status_code"], one["error"], said


def results(path: Path) -> list[tuple[object, ...]]:
    return list(map(result, path.read_bytes().splitlines()))


def names(found: Sequence[tuple[object, ...]]) -> list[object]:
    return [one[1] for one in found]


def test_results_are_in_order_and_failures_are_lines(
    undisturbed: list[tuple[object, ...]],
) -> None:
    assert names(undisturbed) == [f"request {number}" for number in range(NUMBER)]
    failed = {one[1]: one[2] for one in undisturbed if one[2] != 200}
    assert failed == {"request 3": 400, f"request {NUMBER - 1}": 404}


def test_killed_again_and_again_it_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, requests: Path, undisturbed: list[tuple[object, ...]]
) -> None:
    path, partial = tmp_path / "results.jsonl", tmp_path / "results.jsonl.partial"
    kept = b""
    for _ in range(2):
        with on_a_terminal(tmp_path, str(requests), "-o", str(path)) as program:
            program.expect(PACE)
        left = partial.read_bytes()  # leaving the terminal has killed it
        assert left.startswith(kept[: kept.rindex(b"\n") + 1] if kept else b"")
        assert left.count(b"\n") > kept.count(b"\n")
        kept = left
        assert not path.exists()
    done = batch(str(requests), "-o", str(path), "--json")
    summary = json.loads(done.stdout)
    assert summary["done_now"] == NUMBER - kept.count(b"\n")
    assert 0 < summary["done_now"] < NUMBER
    assert (summary["requests"], summary["failed"]) == (NUMBER, 2)
    assert results(path) == undisturbed
    lines = {found.split(b", ", 2)[1]: found for found in path.read_bytes().splitlines()}
    for found in kept.splitlines()[:-1]:  # the very bytes
        assert lines[found.split(b", ", 2)[1]] == found
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_ctrl_c_stops_and_tells_how_to_go_on(
    tmp_path: Path, requests: Path, undisturbed: list[tuple[object, ...]]
) -> None:
    path = tmp_path / "results.jsonl"
    with on_a_terminal(tmp_path, str(requests), "-o", str(path)) as program:
        program.expect(PACE)
        program.send(CTRL_C)
        program.expect("Stopped: ")
        program.expect("The same command goes on from there.")
        assert program.wait() == 130
    assert not path.exists()
    assert batch(str(requests), "-o", str(path)).returncode == 1
    assert results(path) == undisturbed


def test_what_failed_is_done_again_when_it_is_wanted(
    tmp_path: Path, requests: Path, undisturbed: list[tuple[object, ...]]
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(requests.with_name("undisturbed.jsonl").read_bytes())
    done = batch(str(requests), "-o", str(path), "--json")  # nothing to do, and it says so
    assert (done.returncode, json.loads(done.stdout)["done_now"]) == (1, 0)
    again = ("--retry-failed", "--alias", "another", "--json")
    mended = tmp_path / "mended.jsonl"
    mended.write_text(requests.read_text().replace('"no_such_field": 1', '"seed": 1'))
    done = batch(str(mended), "-o", str(path), *again)
    assert (done.returncode, json.loads(done.stdout)["done_now"]) == (0, 2)
    assert [one[2] for one in results(path)] == [200] * NUMBER
    assert results(path)[4:-1] == undisturbed[4:-1]


def test_from_a_pipe_into_a_pipe(tmp_path: Path) -> None:
    given = "\n".join(line(name, question("Hello")) for name in "ab").encode()
    done = batch("-", "-o", "-", stdin=given)
    assert done.returncode == 0
    assert sorted(str(one[1]) for one in map(result, done.stdout.splitlines())) == ["a", "b"]
    assert done.stderr.startswith(b"2 requests: 2 answered, 0 failed; ")
    command = [*BATCH, "/dev/stdin", "-o", "out.jsonl", *OPTIONS]
    subprocess.run(command, input=given, cwd=tmp_path, timeout=PATIENCE, check=True)
    assert names(results(tmp_path / "out.jsonl")) == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nosuch.jsonl", "-o", "out"), "nosuch.jsonl cannot be read: No such file"),
        ((".", "-o", "out"), ". cannot be read: Is a directory"),
        (("-", "-o", "out"), "stdin has no requests"),
        (("one.jsonl",), "--output"),
        (("one.jsonl", "-o", "one.jsonl"), "one.jsonl, line 1, is no result of a batch"),
        (("one.jsonl", "-o", "/dev/null"), "/dev/null is no ordinary file"),
        (
            ("one.jsonl", "-o", "other.jsonl"),
            "other.jsonl has a result of 'x', which is not in one",
        ),
        (("one.jsonl", "-o", "-", "--json"), "the results go to stdout"),
        (("one.jsonl", "-o", "-", "--retry-failed"), "no results of before"),
        (("one.jsonl", "-o", "out", "--slots", "0"), "max_sequences is 0"),
        (("one.jsonl", "-o", "out", "--at-once", "0"), "at_once is 0"),
        (("one.jsonl", "-o", "out", "--at-once", "5"), "at_once is 5, and no more than 4"),
        (("twice.jsonl", "-o", "out"), "twice.jsonl, line 2: custom_id 'a' comes a second time"),
    ],
)
def test_what_cannot_be_done_is_told_before_a_model_is_loaded(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    one = line("a", question("Hello"))
    write_lines(tmp_path / "one.jsonl", [one])
    write_lines(tmp_path / "twice.jsonl", [one, one])
    found = {"id": "y", "custom_id": "x", "response": {"status_code": 200}, "error": None}
    write_lines(tmp_path / "other.jsonl", [json.dumps(found)])
    before = sorted(entry.name for entry in tmp_path.iterdir())
    done = subprocess.run(
        [*BATCH, *arguments, "--model", "nosuch"],
        input=b"",
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert complaint in done.stderr.decode()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before
