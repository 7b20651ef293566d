"""Models sound and not, what was found out, folders, and the disk under them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mistral_small_edge.doctor import holdings, speed
from mistral_small_edge.doctor.trial import trial
from mistral_small_edge.engine.calibration import StepCosts
from mistral_small_edge.llm.calibrations import everything_known, remembered
from mistral_small_edge.store.cache import Stored
from mistral_small_edge.store.checksums import Checksums, sha256_of
from mistral_small_edge.store.source import ModelFile, ModelSource
from tests.tiny_gguf import write_tiny_model

NAME = "mistral-small-3.2:tiny"


def stored(path: Path, sha256: str | None) -> Stored:
    file = ModelFile(name=NAME, location=path, parts=(path,), size=path.stat().st_size)
    source = ModelSource(name=NAME, locations=(path,), sha256=sha256)
    return Stored(source=source, file=file, fetched=file.size)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.gguf")


@pytest.fixture
def checksums(tmp_path: Path) -> Checksums:
    return Checksums(tmp_path / "verified.json")


def test_a_model_is_checked_once_it_is_asked_for_and_believed_then(
    model: Path, checksums: Checksums
) -> None:
    here = [stored(model, sha256_of(model, lambda done: None))]
    unchecked = holdings.models(here, checksums, None)
    assert unchecked.facts[0].value.endswith(holdings.UNCHECKED)
    assert [one.level for one in unchecked.findings] == ["note"]
    read: list[tuple[int, int]] = []
    checked = holdings.models(here, checksums, lambda done, total: read.append((done, total)))
    assert checked.facts[0].value.endswith("checked now")
    assert checked.findings == ()
    assert read[-1] == (model.stat().st_size,) * 2
    believed = holdings.models(here, checksums, None)
    assert believed.facts[0].value.endswith("unchanged since it was checked")


def test_other_bytes_mean_that_it_will_not_work(model: Path, checksums: Checksums) -> None:
    section = holdings.models([stored(model, "0" * 64)], checksums, lambda done, total: None)
    (finding,) = section.findings
    assert finding.fatal
    assert model.exists()  # the doctor changes nothing


def test_what_is_no_model_is_told_without_reading_it_whole(
    model: Path, checksums: Checksums
) -> None:
    os.truncate(model, 1000)
    section = holdings.models([stored(model, None)], checksums, None)
    assert section.facts[0].value.endswith("cannot be loaded")
    assert section.findings[0].level == "warning"


def test_begun_and_missing_models(checksums: Checksums) -> None:
    source = ModelSource(name=NAME, locations=(Path("nowhere"),))
    begun = holdings.models([Stored(source=source, file=None, fetched=5000)], checksums, None)
    assert begun.facts[0].value == "5.0 kB of it"
    none = holdings.models([Stored(source=source, file=None, fetched=0)], checksums, None)
    assert none.facts == ()
    assert [one.text for one in none.findings] == ["no Mistral Small is on this disk"]


def test_what_was_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_SMALL_EDGE_CACHE", str(tmp_path))
    assert holdings.remembered(everything_known()).facts[0].value == "none yet"
    costs = StepCosts(((1, 1.0), (2, 1.5)))
    for model in ("a", "b"):
        remembered(StepCosts, (model,), lambda: costs)
    (fact,) = holdings.remembered(everything_known()).facts
    assert (fact.name, fact.value) == ("StepCosts", "2, the last one [[1, 1.0], [2, 1.5]]")


def test_folders_and_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 2500)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    section = holdings.folders({"a": tmp_path, "b": tmp_path / "none", "c": None})
    a, b, c = (fact.value for fact in section.facts)
    assert a.startswith(f"{tmp_path}, 2.")
    assert a.endswith("kB")
    assert b.endswith("not there yet")
    assert c == "nowhere: there is no home"


def test_a_disk_without_models_is_read_by_a_file_that_is_gone_again(tmp_path: Path) -> None:
    section = speed.disk_speed([], tmp_path / "not" / "there", 10**9, "x")
    assert "/s" in section.facts[0].value
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_is_not_readable(tmp_path: Path) -> None:
    section = speed.disk_speed([tmp_path / "gone"], tmp_path, 10**9, "x")
    assert section.facts[0].value.startswith("not readable here")


@pytest.mark.parametrize(
    ("program", "level", "said"),
    [
        ("pass", "ok", "answers"),
        ("import os; os.kill(os.getpid(), 4)", "warning", "illegal instruction"),
        ("import os; os.kill(os.getpid(), 9)", "warning", "signal 9"),
        ("raise SystemExit('no such thing')", "warning", "no such thing"),
        ("import threading; threading.Event().wait()", "warning", "within 0.5 seconds"),
    ],
)
def test_every_end_of_a_trial(program: str, level: str, said: str) -> None:
    patience = 0.5 if "Event" in program else 60.0
    (finding,) = trial((sys.executable, "-c", program), patience).findings
    assert (finding.level, finding.fatal) == (level, level == "warning")
    assert said in finding.text


def test_what_a_trial_finds_out_is_not_kept(tmp_path: Path, cache_folder: Path) -> None:
    told = tmp_path / "told"
    program = f"import os; open({str(told)!r}, 'w').write(os.environ['MISTRAL_SMALL_EDGE_CACHE'])"
    assert trial([sys.executable, "-c", program]).findings[0].level == "ok"
    folder = Path(told.read_text())
    assert folder != cache_folder
    assert not folder.exists()
