"""`plan`: its screen for machines that are not here, its figures, and what it refuses."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.advice import Wish
from mistral_small_edge.cli import plan_screen
from mistral_small_edge.cli.loading import settle
from mistral_small_edge.cli.plan_figures import Figures
from mistral_small_edge.cli.planning import measured_machine, settled, survey, with_likes
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import NotCached
from mistral_small_edge.gguf import read_header
from mistral_small_edge.machines import another_machine
from mistral_small_edge.store.hub_cache import pointer_to
from mistral_small_edge.store.source import parse_hub_file
from mistral_small_edge.workers import Lent, WorkerAddress
from tests.tiny_gguf import write_tiny_model
from tests.workers.fake_worker import hello, memory, saying, serving

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "mistral-small-3.2"


def screen(
    capsys: pytest.CaptureFixture[str],
    machine: str,
    wish: Wish | None = None,
    model: str = MODEL,
    boxes: int = 1,
) -> list[str]:
    planned = with_likes(another_machine(machine), boxes - 1)
    figures = Figures.of(survey(model), planned, wish or Wish())
    plan_screen.show(figures)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= plan_screen.WIDTH
    return lines


def row(lines: list[str], build: str) -> str:
    (found,) = (line for line in lines if line.split()[:1] == [build])
    return " ".join(found.split())


def typed(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.startswith("  mistral-small-edge")]


def test_a_board_at_a_glance(capsys: pytest.CaptureFixture[str]) -> None:
    lines = screen(capsys, "pi5-16gb")
    assert "Raspberry Pi 5; 4 threads" in row(lines, "processor")
    assert row(lines, "memory").startswith("memory 16 GB as it is sold, 17.2 GB by the byte; 16.2")
    assert "17.1 GB/s, on paper (32 bits of LPDDR4X-4267)" in row(lines, "reading")
    assert row(lines, "Q2_K").startswith("Q2_K 8.9 GB 34k 65k 23k 1.8 fits")
    assert row(lines, "Q3_K_M").endswith("1.4 tight, leaves only 415.5 MB")
    assert row(lines, "IQ4_XS").startswith("IQ4_XS ~12.8 GB")
    assert row(lines, "Q8_0").endswith("- - - - no, lacks 13.2 GB")
    assert any(line.startswith(f"Take {MODEL}:Q3_K_M: it fits") for line in lines)
    assert typed(lines) == [
        f"mistral-small-edge download {MODEL}:Q3_K_M",
        f"mistral-small-edge chat --model {MODEL}:Q3_K_M --kv-type q8_0",
    ]
    assert len(lines) <= 40


def test_what_is_given_up_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = screen(capsys, "16GB", Wish(context_length=4096, vision=False))
    assert "4k, f16, text only" in "\n".join(lines)
    assert "pictures  " not in "\n".join(lines)
    assert row(lines, "Q4_K_M").endswith("? tight, leaves only 583.7 MB")
    assert "--bandwidth tells it" in row(lines, "reading")
    assert typed(lines)[-1] == (
        f"mistral-small-edge chat --model {MODEL}:Q4_K_M --no-vision --kv-type q8_0 --context 4096"
    )


def test_a_machine_that_is_too_small_is_told_the_least(capsys: pytest.CaptureFixture[str]) -> None:
    lines = screen(capsys, "pi5-8gb")
    assert typed(lines) == []
    told = " ".join(lines)
    assert f"None of them can be run: even {MODEL}:Q2_K with 4k context, q8_0, text only," in told


def split(lines: list[str]) -> list[list[str]]:
    """Each machine's layers, first and last."""
    (head,) = (at for at, line in enumerate(lines) if line.split()[-4:-1] == SPLIT_COLUMNS)
    return [line.split()[:4] for line in lines[head + 2 :]]


SPLIT_COLUMNS = ["layers", "takes", "of"]


def test_four_boards_hold_what_one_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    lines = screen(capsys, "pi5-8gb", boxes=4)
    assert sum(line.startswith("worker  ") for line in lines) == 3
    assert row(lines, "Q4_K_M").endswith("1.2 fits, leaves 1.2 GB on each")
    assert row(lines, "Q6_K").endswith("0.9 tight, leaves only 575.1 MB")
    assert row(lines, "Q8_0").endswith("- no, lacks 1.9 GB")
    assert split(lines) == [
        ["pi5-8gb", "1", "to", "7"],
        ["box-2:50052", "8", "to", "18"],
        ["box-3:50052", "19", "to", "29"],
        ["box-4:50052", "30", "to", "40"],
    ]
    command = [line.strip() for line in lines if "chat" in line or "--worker" in line]
    assert command == [
        f"mistral-small-edge chat --model {MODEL}:Q4_K_M \\",
        "--worker box-2:50052 --worker box-3:50052 --worker box-4:50052",
    ]


def test_many_boxes_are_typed_in_lines_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    lines = screen(capsys, "16GB", Wish(context_length=8192, vision=False), boxes=8)
    assert [line.count("--worker") for line in lines if "--worker" in line] == [3, 3, 1]
    assert len(split(lines)) == 8


def test_a_machine_with_no_layer_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    little = another_machine("1GB")
    machine = replace(little, host=replace(little.host, available_memory=1_000_000_000))
    boxes = [Lent(WorkerAddress("10.0.0.2"), 24_000_000_000, 32_000_000_000)]
    wish = Wish(vision=False)
    plan_screen.show(Figures.of(survey(MODEL), machine.with_workers(boxes), wish))
    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in split(lines)] == [["1GB", "-"], ["10.0.0.2:50052", "1"]]


def test_what_closing_programs_would_give(capsys: pytest.CaptureFixture[str]) -> None:
    told = " ".join(screen(capsys, "macbook-16gb"))
    assert f"Take {MODEL}:Q2_K: it fits" in told
    assert f"If no other program ran, it would be {MODEL}:Q3_K_M: it fits" in told


def test_what_is_here_is_marked_and_not_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    lines = screen(capsys, "pi5-8gb", model="toy")
    assert row(lines, "f16*").endswith("fits, leaves 7.2 GB")
    assert "catalog's sizes" not in " ".join(lines)
    assert typed(lines) == ["mistral-small-edge chat --model toy:f16"]


def test_a_file_of_ones_own_is_planned_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    write_tiny_model(path)
    (build,) = survey(str(path)).builds
    assert build.here
    assert build.candidate.header == read_header(path)
    assert build.candidate.missing == 0


def test_a_file_whose_shape_nobody_knows_has_to_be_here() -> None:
    with pytest.raises(NotCached):
        survey("hf:someone/model-GGUF/unknown.gguf")


def test_a_build_that_is_here_is_planned_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    place = pointer_to(parse_hub_file(HUB_FILE), tmp_path)
    place.parent.mkdir(parents=True)
    path = place
    write_tiny_model(path)
    builds = {build.candidate.name: build for build in survey(MODEL).builds}
    here = builds.pop(f"{MODEL}:Q2_K")
    assert here.here
    assert here.candidate.header == read_header(path)
    assert not any(build.here for build in builds.values())
    assert all(build.candidate.missing == build.size for build in builds.values())


def place_build(folder: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    place = pointer_to(parse_hub_file(file), folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_tiny_model(place)


def test_of_the_builds_that_are_here_the_one_that_suits_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, machine = EngineConfig(context_length=512), another_machine("16GB")
    assert settled("toy", config) == ("toy", "")
    assert settled(MODEL, config, machine) == (MODEL, "")  # none is here
    place_build(tmp_path, monkeypatch, HUB_FILE)
    name, reason = settled(MODEL, config, machine)
    assert name == f"{MODEL}:Q2_K"
    assert "it fits" in reason
    place_build(tmp_path, monkeypatch, HUB_FILE.replace("Q2_K", "Q4_K_M"))
    assert settled(MODEL, config, machine) == (f"{MODEL}:Q4_K_M", "")
    assert settled(f"{MODEL}:Q2_K", config, machine) == (f"{MODEL}:Q2_K", "")
    crowded = replace(machine, host=replace(machine.host, available_memory=0))
    assert settled(MODEL, config, crowded) == (f"{MODEL}:Q4_K_M", "")


def test_a_build_that_is_not_the_usual_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place_build(tmp_path, monkeypatch, HUB_FILE)
    assert settle(MODEL, EngineConfig(context_length=512)) == f"{MODEL}:Q2_K"
    assert capsys.readouterr().err.startswith(f"Taking {MODEL}:Q2_K: it fits")
    assert settle("toy", EngineConfig()) == "toy"
    assert capsys.readouterr().err == ""


HUB_FILE = (
    "unsloth/Mistral-Small-3.2-24B-Instruct-2506-GGUF/Mistral-Small-3.2-24B-Instruct-2506-Q2_K.gguf"
)


def test_this_machine_is_measured_unless_it_is_told() -> None:
    measured, told = measured_machine(), measured_machine(1e9)
    assert measured.bandwidth is not None
    assert measured.bandwidth > 0
    assert "measured" in measured.bandwidth_source
    assert told.bandwidth == 1e9
    assert told.free_disk is not None


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mistral_small_edge", "plan", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_figure_as_json() -> None:
    done = run("--json", "--bandwidth", "50")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["machine"]["memory_bytes_per_second"] == 50e9
    assert found["machine"]["disk_free"] > 0
    assert found["builds"][0]["name"] == f"{MODEL}:Q2_K"
    plans = [plan for build in found["builds"] for plan in build["plans"]]
    assert len(plans) == 10 * 4 * 2 * 2
    for plan in plans:
        assert plan["memory"] == sum(plan["memory_parts"].values())
        assert plan["memory_left"] == found["machine"]["memory_available"] - plan["memory"]
        assert (plan["verdict"] == "no") or plan["memory_left"] >= 0
    recommended = found["recommendation"]
    if recommended is not None:
        assert recommended["verdict"] in ("fits", "tight")
        assert recommended["build"] in [build["name"] for build in found["builds"]]


def test_workers_are_asked_what_they_lend(tmp_path: Path) -> None:
    lending = saying(hello(), memory(7 * 10**9, 8 * 10**9))
    with serving(lending) as first, serving(lending) as second:
        file = tmp_path / "workers"
        file.write_text(f"{second}  # in the cellar\n", encoding="utf-8")
        done = run(
            *(f"{MODEL}:Q4_K_M", "--for", "pi5-8gb", "--json"),
            *("--worker", str(first), "--worker-file", str(file)),
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["machine"]["workers"] == [
        {"address": str(each), "memory": 8 * 10**9, "memory_available": 7 * 10**9}
        for each in (first, second)
    ]
    taken = found["recommendation"]
    assert [share["machine"] for share in taken["shares"]] == ["pi5-8gb", str(first), str(second)]
    assert sum(share["layers"] for share in taken["shares"]) == 40
    assert sum(share["memory"] for share in taken["shares"]) == taken["memory"]
    assert taken["memory"] == sum(taken["memory_parts"].values())


def test_a_worker_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = run("toy", "--for", "16GB", "--worker", f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: worker 127.0.0.1:{port}: Connection refused" in done.stderr


def test_the_layers_of_one_build_in_every_way() -> None:
    done = run(f"{MODEL}:q4_k_m", "--for", "pi5-8gb", "--boxes", "4", "--all")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "in all layers tok/s verdict" in lines[0]
    assert "8k f16 yes" in lines[6]
    assert "7 11 11 11 1.2 fits, leaves 1.2 GB on each" in lines[6]


def test_the_full_matrix_of_one_build() -> None:
    done = run(f"{MODEL}:q4_k_m", "--for", "pi5-16gb", "--all")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0].split()[:4] == ["build", "context", "KV", "pictures"]
    assert len(lines) == 2 + 4 * 2 * 2
    assert f"{MODEL}:Q4_K_M 128k f16 yes 14.3 GB 21.5 GB 1.9 GB" in lines[-4]


def test_the_machines_that_have_a_name() -> None:
    names = [line.split()[0] for line in run("--for", "list").stdout.splitlines()[2:]]
    assert names == [preset["name"] for preset in json.loads(run("--for", "list", "--json").stdout)]
    assert "pi5-16gb" in names


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--for", "pi6"], 2, "--for is 'pi6'"),
        (["--for", "16GB", "--bandwidth", "0"], 2, "--bandwidth is 0"),
        (["--for", "16GB", "--bandwidth", "nan"], 2, "--bandwidth is nan"),
        (["--for", "16GB", "--context", "10"], 2, "context_length is 10"),
        (["--for", "list", "--all"], 2, "--for list"),
        (["--for", "list", "--boxes", "4"], 2, "--for list"),
        (
            ["--for", "8GB", "--boxes", "4", "--worker", "a"],
            2,
            "--boxes is for machines that are not there",
        ),
        (["--for", "8GB", "--boxes", "0"], 2, "--boxes is 0; it must be from 1 to 17"),
        (["--for", "8GB", "--boxes", "18"], 2, "--boxes is 18"),
        (["--for", "8GB", "--worker", "a:0"], 2, "'a:0' ends with no port"),
        (["--for", "8GB", "--worker", "a", "--worker", "a:50052"], 2, "a:50052 is named twice"),
        (["--for", "8GB", "--worker-file", "/nosuch"], 2, "/nosuch cannot be read"),
        (["demo", "--for", "16GB", "--vision"], 2, "no projector is known"),
        (["nosuch", "--for", "16GB"], 1, "no model 'nosuch'"),
    ],
)
def test_what_is_refused(arguments: list[str], code: int, complaint: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert f"error: {complaint}" in done.stderr or complaint in done.stderr
    assert "Traceback" not in done.stderr
