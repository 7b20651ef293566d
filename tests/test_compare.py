"""`scripts/compare`: what it asks, what it refuses to count, and its arithmetic; never how fast."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.llm import LLM
from scripts import compare as script
from scripts.beside import contenders, prompts, report
from scripts.beside.building import Build, built_llama_server, need, steps
from scripts.beside.client import Client
from scripts.beside.errors import AnswerTooShort, CompareFailed
from scripts.beside.figures import Figure, Outcome, Sample, rows
from scripts.beside.memory import memory_of
from scripts.beside.neighbours import Neighbours, busy_neighbours, wait_for_quiet
from scripts.beside.rounds import compare
from scripts.beside.servers import Contender, Server, running
from scripts.beside.workloads import WORKLOADS, Asked
from scripts.toy.tekken import Tekken
from tests.fake_chat_server import Ways, fake_chat_server
from tests.script_box import ROOT, complete_box
from tests.server.live import serving
from tests.tiny_gguf import TinyShape, write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

ASKED = [one for one in WORKLOADS if isinstance(one, Asked) and not one.once]
RATE = Figure("decode", "tok/s", more_is_better=True)
TIME = Figure("first token", "s", more_is_better=False)
NO_END = {"2": -100.0}


def fake(name: str, *words: str) -> Contender:
    command = (sys.executable, "-m", "tests.fake_chat_server", *words)
    return Contender(name=name, command=command, banned=NO_END)


def client(port: int) -> Client:
    return Client("fake", port, "words", NO_END)


def sample(contender: str, number: int, busy: float = 0.25, **values: float) -> Sample:
    return Sample("work", number, contender, 0, busy, Outcome(values=values))


@pytest.mark.parametrize("workload", ASKED, ids=lambda workload: workload.name)
def test_a_workload_gives_its_figures(workload: Asked) -> None:
    with fake_chat_server(ways := Ways()) as port:
        outcome = workload.run(Server(client(port), os.getpid(), 0.0), 0)
    assert list(outcome.values) == [figure.name for figure in workload.figures]
    assert all(value > 0 for value in outcome.values.values())
    assert outcome.completion_tokens > 0
    for body in ways.asked:
        assert (body["model"], body["stream"]) == ("words", True)
        assert (body["temperature"] == 0) == (not workload.name.endswith("-sampled"))
        assert body.get("logit_bias") == (None if workload.guessing else NO_END)


def test_a_round_is_the_same_for_all_and_like_no_other() -> None:
    with fake_chat_server(ways := Ways(remembers=False)) as port:
        server = Server(client(port), os.getpid(), 0.0)
        for workload in ASKED:
            told = []
            for number in (0, 0, 1):
                ways.asked.clear()
                workload.run(server, number)
                told.append({json.dumps(body["messages"]) for body in ways.asked})
            assert told[0] == told[1]
            assert not told[0] & told[2]


def test_an_unseen_prompt_differs_from_its_first_words_on() -> None:
    begun = {prompts.unseen(number, 1800).messages[0]["content"][:12] for number in range(9)}
    assert len(begun) == 9


@pytest.mark.parametrize(
    ("ways", "sentence"),
    [
        (Ways(status=503), "fake answered 503: .*not today"),
        (Ways(missing=3), "fake answered with 125 tokens where 128 were asked for"),
        (Ways(ending=b""), "an answer broke off before its end"),
        (Ways(ending=b"data: [DONE]\n"), "without its usage"),
        (
            Ways(ending=b'data: {"error": "out of memory"}\n'),
            "ended an answer with .*out of memory",
        ),
    ],
)
def test_no_figure_is_taken_from_a_bad_answer(ways: Ways, sentence: str) -> None:
    with fake_chat_server(ways) as port, pytest.raises(CompareFailed, match=sentence):
        client(port).ask(prompts.short(0))


def test_a_token_without_text_tells_nothing_of_this_round() -> None:
    with (
        fake_chat_server(Ways(word="")) as port,
        pytest.raises(AnswerTooShort, match="fake sent an answer without text"),
    ):
        client(port).ask(prompts.unseen(0, 100))


def test_a_server_that_is_gone_is_one_sentence() -> None:
    with fake_chat_server(Ways()) as port:
        pass
    with pytest.raises(CompareFailed, match="fake hung up on a request"):
        client(port).ask(prompts.short(0))


def test_a_prompt_that_was_to_be_new_must_be() -> None:
    (prefill,) = (one for one in ASKED if one.name == "prefill")
    with fake_chat_server(Ways()) as port:
        server = Server(client(port), os.getpid(), 0.0)
        prefill.run(server, 0)
        with pytest.raises(CompareFailed, match="that was to be new to it"):
            prefill.run(server, 0)


def test_our_own_server_takes_what_is_asked(tmp_path: Path) -> None:
    shape = TinyShape(context=1024)
    path = write_tiny_model(
        tmp_path / "noise.gguf", chat_template=None, tekken=Tekken(), shape=shape
    )
    banned = contenders.no_end(path)
    assert "2" in banned
    with (
        LLM.load(path, EngineConfig(context_length=1024, max_sequences=2, threads=1)) as llm,
        serving(llm, 2) as url,
    ):
        ours = Client("ours", int(url.rpartition(":")[2]), llm.names[0], banned)
        answers = ours.ask_all([prompts.short(0), prompts.short(1)])
    assert [answer.completion_tokens for answer in answers] == [128, 128]
    assert all(answer.decode_rate > 0 for answer in answers)


def test_turns_alternate_and_the_guesser_joins_where_it_should() -> None:
    names = ("single", "copying", "cold")
    workloads = [one for one in WORKLOADS if one.name in names]
    notes: list[str] = []
    waits: list[int] = []
    pair = [fake("one"), fake("two")]
    found = list(
        compare(workloads, pair, [fake("three")], 2, notes.append, lambda: waits.append(len(waits)))
    )
    order = {
        (name, number): [s.contender for s in found if (s.workload, s.round) == (name, number)]
        for name in names
        for number in (0, 1)
    }
    assert order["single", 0] == order["cold", 0] == ["one", "two"]
    assert order["single", 1] == order["cold", 1] == ["two", "one"]
    assert order["copying", 0] == ["one", "two", "three"] == order["copying", 1][::-1]
    assert len(waits) == len(found) == 2 * (2 + 3 + 2)
    assert notes[:3] == ["starting one", "starting two", "single, round 1 of 2"]


def test_alone_nobody_runs_beside_another() -> None:
    seen: list[int] = []

    def run(server: Server, _: int) -> Outcome:
        assert not any(map(psutil.pid_exists, seen))
        seen.append(server.pid)
        return Outcome(values={"decode": 1.0})

    workload = Asked("work", (RATE,), run)
    pair = [fake("one"), fake("two")]
    found = list(compare([workload], pair, [], 2, lambda _: None, lambda: None, alone=True))
    assert [each.contender for each in found] == ["one", "two", "two", "one"]
    assert len(set(seen)) == 4


def test_a_round_with_too_short_an_answer_is_left_out() -> None:
    def run(server: Server, number: int) -> Outcome:
        if number == 1 and server.client.name == "two":
            raise AnswerTooShort("two had nothing to say")
        return Outcome(values={"decode": 1.0})

    notes: list[str] = []
    pair = [fake("one"), fake("two")]
    workload = Asked("terse", (RATE,), run)
    found = list(compare([workload], pair, [], 3, notes.append, lambda: None))
    assert [sample.round for sample in found] == [0, 0, 2, 2]
    assert "terse, round 2 is left out: two had nothing to say" in notes


def test_prompts_of_other_lengths_are_not_compared() -> None:
    odd = Asked("odd", (RATE,), lambda server, _: _outcome_by_name(server.client.name))
    with pytest.raises(CompareFailed, match="the prompt of odd has 100 for one, 90 for two tokens"):
        list(compare([odd], [fake("one"), fake("two")], [], 1, lambda _: None, lambda: None))


def _outcome_by_name(name: str) -> Outcome:
    return Outcome(values={"decode": 1.0}, prompt_tokens=100 if name == "one" else 90)


def test_a_server_that_dies_at_start_shows_its_last_words() -> None:
    code = "import sys; print('no such tensor'); sys.exit(3)"
    dying = Contender(name="dying", command=(sys.executable, "-c", code), banned={})
    with pytest.raises(CompareFailed) as failure, running(dying):
        pass
    assert str(failure.value) == "dying ended with 3 before it was ready"
    assert failure.value.log == "no such tensor"


def test_no_program_is_one_sentence(tmp_path: Path) -> None:
    missing = Contender(name="missing", command=(str(tmp_path / "none"),), banned={})
    with (
        pytest.raises(CompareFailed, match=r"missing cannot be started: .*No such file"),
        running(missing),
    ):
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, CompareFailed, SystemExit])
def test_servers_end_with_whatever_ends_us(error: type[BaseException]) -> None:
    pids: list[int] = []

    def end_while_two_run() -> None:
        with running(fake("one")) as one, running(fake("two")) as two:
            pids.extend([one.pid, two.pid])
            raise error("enough")

    with pytest.raises(error):
        end_while_two_run()
    assert len(pids) == 2
    assert not any(map(psutil.pid_exists, pids))


def test_memory_is_that_of_the_process() -> None:
    taken = memory_of(os.getpid())
    assert taken.peak >= taken.beyond_files > 10_000_000


def test_what_we_do_ourselves_is_no_neighbour() -> None:
    watch = Neighbours()
    code = "sum(range(2_000_000))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert 0 <= watch.busy() <= (psutil.cpu_count() or 1)


def test_neighbours_compute_until_they_are_not_wanted() -> None:
    before = set(psutil.Process().children())
    with busy_neighbours(2):
        both = set(psutil.Process().children()) - before
        assert len(both) == 2
    assert not any(one.is_running() for one in both)


def test_beside_neighbours_our_server_minds_its_threads(tmp_path: Path) -> None:
    setting = contenders.Setting(model=tmp_path, threads=3, context=512, slots=2)
    assert "--threads" in contenders.ours(setting, (), {}).command
    adapting = replace(setting, adapts=True)
    assert "--threads" not in contenders.ours(adapting, (), {}).command
    assert "--threads" in contenders.llama_server(tmp_path, adapting, (), {}).command


@pytest.mark.parametrize(
    ("busy", "patience", "quiet", "looks"),
    [([0.0], 60, True, 1), ([1.0, 0.5, 0.1], 60, True, 3), ([1.0, 1.0], 0, False, 1)],
)
def test_a_turn_waits_for_neighbours_as_long_as_it_may(
    busy: list[float], patience: float, quiet: bool, looks: int
) -> None:
    left = list(busy)
    assert wait_for_quiet(patience, lambda: left.pop(0)) == quiet
    assert len(busy) - len(left) == looks


def test_ratios_are_taken_within_rounds_and_above_one_is_better() -> None:
    samples = [
        *(sample("ours", 0, decode=30, wait=1), sample("theirs", 0, decode=10, wait=3)),
        *(sample("ours", 1, decode=10, wait=2), sample("theirs", 1, decode=10, wait=1)),
        *(sample("ours", 2, decode=20, wait=9), sample("theirs", 2, decode=40, wait=9)),
        sample("ours", 3, decode=99, wait=0.1),  # theirs never came
    ]
    wait = Figure("wait", "s", more_is_better=False)
    first, second = rows({"work": [RATE, wait], "none": [RATE]}, samples, "ours")
    assert (first.medians, first.ratios, first.rounds) == (
        {"ours": 20, "theirs": 10},
        {"theirs": 1.0},
        3,
    )
    assert (second.medians, second.ratios) == ({"ours": 2, "theirs": 3}, {"theirs": 1.0})


@pytest.mark.parametrize(
    ("busy", "counted", "ratio"), [((0.0, 1.0), 1, 3.0), ((1.0, 1.0), 2, 2.0), ((0.0, 0.1), 2, 2.0)]
)
def test_disturbed_rounds_count_only_where_there_are_no_others(
    busy: tuple[float, float], counted: int, ratio: float
) -> None:
    samples = [
        *(sample("ours", 0, busy[0], decode=30), sample("theirs", 0, 0.0, decode=10)),
        *(sample("ours", 1, 0.0, decode=10), sample("theirs", 1, busy[1], decode=10)),
    ]
    (row,) = rows({"work": [RATE]}, samples, "ours")
    assert (row.rounds, row.all_rounds, row.ratios) == (counted, 2, {"theirs": ratio})


@pytest.mark.parametrize(("figure", "ratio"), [(RATE, 0.5), (TIME, 2.0)])
def test_less_time_and_more_speed_are_better(figure: Figure, ratio: float) -> None:
    assert figure.ratio(1.0, 2.0) == ratio


def test_the_report_has_every_figure_and_the_file_every_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [sample("ours", 0, decode=123.4), sample("theirs", 0, decode=61.7)]
    found = list(rows({"work": [RATE]}, samples, "ours"))
    report.write_table(found, "ours")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["workload", "figure", "unit", "ours", "theirs", "ratio", "rounds", "others"]
    assert lines[-1] == ["work", "decode", "tok/s", "123", "61.7", "2.00", "1/1", "0.25"]
    report.write_json(tmp_path / "all.json", {"cores": 2}, {"model": "demo"}, found, samples)
    document = json.loads((tmp_path / "all.json").read_text())
    assert document["machine"] == {"cores": 2}
    assert document["medians"][0]["ratios"] == {"theirs": 2.0}
    assert [one["outcome"]["values"] for one in document["rounds"]] == [
        {"decode": 123.4},
        {"decode": 61.7},
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--context 100", "100 is not a number of at least 3072"),
        ("--rounds 0", "0 is not a number of at least 1"),
        ("--threads many", "many is not a number of at least 1"),
        ("--only nothing", "invalid choice: 'nothing'"),
        ("--peer-speculation magic", "invalid choice: 'magic'"),
        ("--json /no/such/place/all.json", "there is no directory /no/such/place"),
    ],
)
def test_options_are_checked_first(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        script.options(words.split())
    assert left.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--model nobody --llama-server /bin/sh", "error: .*nobody"),
        ("--model toy --llama-server /no/such/file", "--llama-server: /no/such/file is no program"),
    ],
)
def test_what_is_missing_is_one_sentence(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(words.split()) == 1
    assert re.search(sentence, capsys.readouterr().err)


def test_a_build_is_of_the_pinned_source_and_made_once(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    build = Build(tmp_path)
    assert build.requirement.startswith("llama-cpp-python==")
    commands = {what.split()[0]: command for what, command in steps(build, build.home / "source")}
    assert list(commands) == ["fetching", "unpacking", "cmake", "compiling"]
    version = build.requirement.partition("==")[2]
    assert str(commands["unpacking"][2]).endswith(f"/llama_cpp_python-{version}.tar.gz")
    assert {"-DGGML_NATIVE=ON", "-DLLAMA_BUILD_UI=OFF"} <= set(map(str, commands["cmake"]))
    assert not build.is_done
    build.binary.parent.mkdir(parents=True)
    build.binary.touch()
    build.mark_done()
    assert build.is_done


def test_other_options_of_the_bindings_are_another_build(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    build = Build(tmp_path)
    build.binary.parent.mkdir(parents=True)
    build.binary.touch()
    build.mark_done()
    (tmp_path / ".venv" / ".build").write_text(f"{build.requirement} -DGGML_BLAS=ON\n")
    assert build.options[-1] == "-DGGML_BLAS=ON"
    assert not build.is_done


@pytest.mark.parametrize(("missing", "remedy"), [("cc", "build-essential"), ("cmake", "cmake")])
def test_a_build_that_cannot_be_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, remedy: str
) -> None:
    box = complete_box(tmp_path)
    (box.home / "bin" / missing).unlink()
    monkeypatch.setenv("PATH", box.environment["PATH"])
    with pytest.raises(CompareFailed, match=f"apt install {remedy}; or name a llama-server"):
        need(box.root)


def test_a_build_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = complete_box(tmp_path)
    box.stub("tar", "exit 0")
    box.stub("cmake", 'if [ "$1" = --build ]; then mkdir -p "$2/bin"; : >"$2/bin/llama-server"; fi')
    monkeypatch.setenv("PATH", box.environment["PATH"])
    monkeypatch.setenv("CALLS", box.environment["CALLS"])
    notes: list[str] = []
    python = str(box.home / "bin" / "python3")
    for _ in range(2):
        built = built_llama_server(Build(box.root), notes.append, python)
        assert built == box.root / ".venv/llama-server/build/bin/llama-server"
    assert [note.partition(" from ")[0] for note in notes] == ["Building llama-server"]
    (download,) = box.calls()
    assert "-m pip download " in download
    assert "--no-deps --no-binary llama-cpp-python" in download


def test_a_build_that_fails_shows_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = complete_box(tmp_path)
    box.stub("tar", "exit 0")
    box.stub("cmake", 'if [ "$1" = --build ]; then echo "no room" >&2; exit 1; fi')
    monkeypatch.setenv("PATH", box.environment["PATH"])
    monkeypatch.setenv("CALLS", box.environment["CALLS"])
    python = str(box.home / "bin" / "python3")
    with pytest.raises(CompareFailed, match="compiling failed") as failure:
        built_llama_server(Build(box.root), lambda _: None, python)
    assert failure.value.log == "no room"
    assert not Build(box.root).is_done


def test_the_script_can_be_run() -> None:
    script_file = ROOT / "scripts/compare"
    assert os.access(script_file, os.X_OK)
    assert script_file.read_text().startswith("#!/usr/bin/env bash\n")
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, "-x", script_file], check=True)


def test_the_script_tells_its_options() -> None:
    done = subprocess.run(
        [ROOT / "scripts/compare", "--help"], capture_output=True, text=True, check=True
    )
    assert "--peer-speculation" in done.stdout
