"""`models` as a process: the list, the check, the removal."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.errors import AccessDenied
from mistral_small_edge.store import download
from mistral_small_edge.store.catalog import Catalog
from mistral_small_edge.store.checksums import Checksums
from mistral_small_edge.store.hub import Hub
from mistral_small_edge.store.source import HubFile
from tests.cli.pty_driver import PtyProgram
from tests.fake_hub import FakeHub, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = random.Random(5).randbytes(900_000)
MODEL = "mistral-small-3.2:Q2_K"
PROJECTOR = "mistral-small-3.2:projector"
OTHER = "hf:someone/model-GGUF/a/other.gguf"
PROGRAM = (sys.executable, "-m", "mistral_small_edge")
_PATIENCE = 60.0  # seconds; only a broken program takes that long


class Machine:
    """A home of its own and a hub that publishes small files under the catalog's names."""

    def __init__(self, hub: FakeHub, home: Path) -> None:
        self.hub = hub
        self.home = home
        self.environment = hub.environment(home)
        (location, *_) = Catalog.load().find(MODEL).locations
        assert isinstance(location, HubFile)
        hub.add(location.repository, location.filename, CONTENT)
        (location, *_) = Catalog.load().find(PROJECTOR).locations
        assert isinstance(location, HubFile)
        hub.add(location.repository, location.filename, CONTENT[:-2])
        hub.add("someone/model-GGUF", "a/other.gguf", CONTENT[:-1])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )

    def download(self, model: str, to: Path | None = None) -> Path:
        """What `download` does, without the half second that a process takes."""
        fetched = download.fetch(
            Catalog.load().find(model),
            Hub(endpoint=self.hub.url, timeout=5),
            to=to,
            cache=self.home / "huggingface" / "hub",
            checksums=Checksums(self.home / "cache" / "mistral-small-edge" / "verified.json"),
        )
        return fetched.file.path

    def begin(self, model: str) -> None:
        self.hub.go_wrong(Fault(cut_after=300_000), Fault(status=403))
        with pytest.raises(AccessDenied):
            self.download(model)
        self.hub.go_wrong()

    def listed(self) -> dict[str, dict[str, object]]:
        done = self.run("models", "--json")
        assert done.returncode == 0, done.stderr
        return {each["name"]: each for each in json.loads(done.stdout)}

    def files(self) -> list[Path]:
        return [path for path in (self.home / "huggingface").rglob("*.gguf*") if path.is_file()]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with FakeHub() as hub:
        yield Machine(hub, tmp_path)


def test_the_table(machine: Machine) -> None:
    done = machine.run("models")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if ":" in line}
    assert rows["mistral-small-3.2:Q4_K_M"].split()[1:] == ["14.3", "GB", "no", "default"]
    assert "~12.8 GB" in rows["mistral-small-3.2:IQ4_XS"]
    assert rows["demo:Q4_1"].split()[1:] == ["98.4", "MB", "yes", "no", "default"]
    assert machine.hub.asked == []


def test_what_is_where(machine: Machine) -> None:
    path = machine.download(MODEL)
    machine.begin(OTHER)
    listed = machine.listed()
    assert listed[MODEL] == {
        "name": MODEL,
        "default": False,
        "size": len(CONTENT),
        "size_is_approximate": False,
        "state": "present",
        "bytes_on_disk": len(CONTENT),
        "path": str(path),
        "verified": True,
    }
    assert listed[OTHER]["state"] == "partial"
    assert listed[OTHER]["bytes_on_disk"] == 300_000
    assert listed["mistral-small-3.2:Q4_K_M"]["state"] == "absent"
    assert "300.0 kB of it" in machine.run("models").stdout


def test_an_option_in_the_wrong_place_is_not_ignored(machine: Machine) -> None:
    assert machine.run("models", "--json", "verify").returncode == 2


def test_verify_forgets_what_has_changed_and_checks_again(machine: Machine) -> None:
    path = machine.download(MODEL)
    path.touch()
    assert machine.listed()[MODEL]["verified"] is False
    asked = len(machine.hub.asked)
    done = machine.run("models", "verify", MODEL)
    assert (done.returncode, done.stdout) == (0, f"{MODEL}: sound\n")
    assert machine.listed()[MODEL]["verified"] is True
    assert len(machine.hub.asked) == asked


def test_verify_finds_a_flipped_byte_and_the_file_is_fetched_again(machine: Machine) -> None:
    path = machine.download(MODEL)
    machine.download(OTHER)
    with path.open("r+b") as file:
        file.seek(450_000)
        file.write(b"!")
    done = machine.run("models", "verify")
    assert done.returncode == 1
    verdicts = set(done.stdout.splitlines())
    assert verdicts == {
        f"{MODEL}: damaged",
        f"{OTHER}: sound",
        "demo:Q4_1: sound",
        "toy:f16: sound",
        "toy:projector: sound",
    }
    assert f"Fetch it again: mistral-small-edge download {MODEL}" in done.stderr
    assert not path.is_symlink()
    assert [each.name for each in machine.files() if each.suffix == ".damaged"] != []
    assert machine.download(MODEL).read_bytes() == CONTENT
    assert [each.name for each in machine.files() if each.suffix == ".damaged"] == []


def test_verify_a_file_on_another_disk(machine: Machine) -> None:
    place = machine.home / "usb"
    path = machine.download(MODEL, to=place)
    assert machine.run("models", "verify", str(path)).stdout == f"{path}: sound\n"
    path.write_bytes(CONTENT[::-1])
    done = machine.run("models", "verify", str(path))
    assert done.returncode == 1
    assert path.read_bytes() == CONTENT[::-1]  # not ours to move


def test_verify_what_nobody_published(machine: Machine) -> None:
    path = machine.home / "mine.gguf"
    path.write_bytes(b"GGUF")
    done = machine.run("models", "verify", str(path))
    assert done.stdout == f"{path}: nobody published a sha256\n"


def test_verify_what_is_not_there(machine: Machine) -> None:
    done = machine.run("models", "verify", MODEL)
    assert done.returncode == 1
    assert "Fetch it while online" in done.stderr


def test_remove_asks_for_a_yes(machine: Machine) -> None:
    path = machine.download(MODEL)
    done = machine.run("models", "remove", MODEL)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert path.exists()


def test_remove_takes_everything_of_it_and_nothing_else(machine: Machine) -> None:
    path = machine.download(MODEL)
    other = machine.download(OTHER)
    done = machine.run("models", "remove", MODEL, "--yes")
    assert (done.returncode, done.stderr) == (0, f"{MODEL}: 900.0 kB freed\n")
    assert not path.is_symlink()
    assert other.read_bytes() == CONTENT[:-1]
    assert machine.listed()[MODEL]["state"] == "absent"
    left = [each for each in (machine.home / "huggingface").rglob("*") if each.is_file()]
    assert sum(each.stat().st_size for each in left if not each.is_symlink()) < 1_000_000
    again = machine.run("models", "remove", MODEL, "--yes")
    assert (again.returncode, "nothing to remove" in again.stderr) == (0, True)


def test_a_model_comes_with_its_projector_unless_it_is_not_to_see(machine: Machine) -> None:
    blind = machine.run("download", "--no-vision", MODEL)
    assert blind.returncode == 0
    assert machine.listed()[PROJECTOR]["state"] == "absent"
    done = machine.run("download", MODEL)
    assert done.stdout == blind.stdout
    assert [line.partition(": ")[0] for line in done.stderr.splitlines() if "sha256" in line] == [
        PROJECTOR
    ]
    assert machine.listed()[PROJECTOR]["state"] == "present"
    assert machine.run("models", "remove", PROJECTOR, "--yes").returncode == 0
    assert machine.listed()[MODEL]["state"] == "present"


def test_a_download_without_a_build_takes_the_one_that_suits(machine: Machine) -> None:
    for source in Catalog.load().choices(DEFAULT_MODEL):
        (location, *_) = source.locations
        assert isinstance(location, HubFile)
        machine.hub.add(location.repository, location.filename, CONTENT)
    done = machine.run("download")
    if done.returncode:  # a small machine
        assert "this machine can run no build of it; name one" in done.stderr
        assert (done.returncode, machine.files()) == (2, [])
        return
    taken = done.stderr.splitlines()[0].removeprefix("Taking ").split(": ")[0]
    reason = done.stderr.splitlines()[0].partition(": ")[2]
    assert "it fits and leaves" in reason or "it is tight and leaves" in reason
    listed = machine.listed()
    assert listed[taken]["path"] == done.stdout.removesuffix("\n")
    assert [
        name
        for name in listed
        if name.startswith(DEFAULT_MODEL)
        and "proj" not in name
        and listed[name]["state"] == "present"
    ] == [taken]


def test_a_download_without_a_build_goes_on_with_what_was_begun(machine: Machine) -> None:
    machine.begin(MODEL)
    begun = machine.run("download", DEFAULT_MODEL, "--no-vision")
    assert begun.stderr.startswith(f"Taking {MODEL}, which was begun; name another build")
    assert machine.listed()[MODEL]["state"] == "present"
    again = machine.run("download", DEFAULT_MODEL, "--no-vision", "--offline")
    assert again.stdout == begun.stdout
    assert again.stderr.startswith(f"Taking {MODEL}, which is here; name another build")


def test_offline_a_download_without_a_build_wants_one_that_is_here(machine: Machine) -> None:
    done = machine.run("download", "--offline")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: {DEFAULT_MODEL}: none of its builds is on this disk",
        f"  Fetch it while online: mistral-small-edge download {DEFAULT_MODEL}",
    ]
    assert machine.hub.asked == []


def test_a_projector_goes_where_its_model_goes(machine: Machine, tmp_path: Path) -> None:
    done = machine.run("download", MODEL, "--to", str(tmp_path / "here"))
    paths = sorted((tmp_path / "here").glob("*.gguf"))
    assert [path.name for path in paths][1:] == ["mmproj-F16.gguf"]
    assert done.stdout == f"{paths[0]}\n"
    assert str(paths[1]) in done.stderr


def test_remove_takes_what_was_only_begun(machine: Machine) -> None:
    machine.begin(OTHER)
    done = machine.run("models", "remove", OTHER, "--yes")
    assert "300.0 kB freed" in done.stderr
    assert OTHER not in machine.listed()


def test_remove_without_links(machine: Machine) -> None:
    machine.environment["HF_HUB_DISABLE_SYMLINKS"] = "1"
    path = Path(machine.run("download", MODEL).stdout.removesuffix("\n"))
    assert path.is_file()
    assert machine.run("models", "remove", MODEL, "--yes").returncode == 0
    assert not path.exists()


@pytest.mark.parametrize("model", ["demo", "own.gguf"])
def test_remove_touches_nothing_of_the_users_own(machine: Machine, model: str) -> None:
    own = machine.home / "own.gguf"
    own.write_bytes(b"GGUF")
    done = machine.run("models", "remove", str(own) if model == "own.gguf" else model, "--yes")
    assert done.returncode == 2
    assert "no download" in done.stderr
    assert own.exists()
    assert machine.listed()["demo:Q4_1"]["state"] == "present"


@pytest.mark.parametrize(("answer", "remains"), [("y", False), ("n", True)])
def test_remove_asks_a_person(machine: Machine, answer: str, remains: bool) -> None:
    path = machine.download(MODEL)
    with PtyProgram(
        [*PROGRAM, "models", "remove", MODEL],
        environment=machine.environment,
        directory=machine.home,
    ) as program:
        program.expect(f"Delete {MODEL} (900.0 kB)? [y/N]: ")
        program.send(f"{answer}\r")
        assert program.wait() == (1 if remains else 0)
    assert path.exists() is remains
