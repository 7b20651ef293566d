"""A machine is tried once, and what was found is believed until something is different."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.engine.backend import LOGITS_ROWS, Batch, Logits, RowClasses
from mistral_small_edge.engine.calibration import (
    DraftCost,
    ExactPass,
    Repeats,
    StepCosts,
    Threads,
)
from mistral_small_edge.llama.trial import try_exact_pass, try_repeats
from mistral_small_edge.llm import LLM, calibrations
from mistral_small_edge.llm.calibrations import remembered
from mistral_small_edge.llm.fingerprint import fingerprint_of_rows
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOUND = StepCosts(((1, 1.0), (2, 1.5), (32, 9.25)))
OTHER = StepCosts(((1, 1.0), (2, 2.0)))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MISTRAL_SMALL_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "machine"


class Ragged:
    """A runner whose kernel takes `at_once` rows and leaves others over to one that rounds otherwise."""

    max_sequences, context_length, batch_rows, threads = 1, 256, 128, 1
    keeps_rows, splits_context = True, False
    row_classes = RowClasses()

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.rows: list[bool] = []

    def run(self, batch: Batch) -> tuple[int, ...]:
        (chunk,) = batch
        rows = len(chunk.tokens)
        self.rows += [row < rows - rows % self.at_once for row in range(rows)]
        return (rows - 1,)

    def logits(self, _row: int) -> Logits:
        return np.array(self.rows, np.float32)

    def truncate(self, _slot: int, length: int) -> None:
        del self.rows[length:]

    def use_threads(self, count: int) -> None:
        pass


@dataclass
class Company:
    """A runner of empty arithmetic: what a row gives is told by its place and by who is beside it."""

    gives: Callable[[int, tuple[int, ...]], float]
    minds: int = 0  # how many threads there are
    max_sequences, context_length, threads = 8, 256, 2
    keeps_rows, splits_context = True, False
    row_classes = RowClasses()
    rows: list[int] = field(default_factory=lambda: [0] * 8)
    given: list[float] = field(default_factory=list)
    team: int = 2

    def use_threads(self, count: int) -> None:
        self.team = count

    def run(self, batch: Batch) -> tuple[int, ...]:
        lengths = tuple(self.rows[chunk.slot] for chunk in batch)
        self.given = [self.gives(at, lengths) + self.minds * self.team for at in range(len(batch))]
        for chunk in batch:
            assert chunk.start == self.rows[chunk.slot]
            self.rows[chunk.slot] += len(chunk.tokens)
        return tuple(range(len(batch)))

    def logits(self, row: int) -> Logits:
        return np.array([self.given[row]], np.float32)

    def copy(self, _source: int, slot: int, length: int) -> None:
        self.rows[slot] = length

    def truncate(self, slot: int, length: int) -> None:
        self.rows[slot] = min(self.rows[slot], length)


def never() -> StepCosts:
    raise AssertionError("it was tried again")


def test_what_was_found_is_remembered_for_the_same_circumstances_alone() -> None:
    assert remembered(StepCosts, ("model", 2), lambda: FOUND) == FOUND
    assert remembered(StepCosts, ("model", 2), never) == FOUND
    assert remembered(StepCosts, ("model", 4), lambda: OTHER) == OTHER
    assert remembered(StepCosts, ("model", 2), never) == FOUND
    repeats = Repeats(RowClasses(8, 2), any_threads=True)
    for _ in range(2):
        assert remembered(Repeats, ("model", 2), lambda: repeats) == repeats


def test_two_that_try_at_once_go_by_the_first_to_end() -> None:
    def slowly() -> StepCosts:
        assert remembered(StepCosts, ("model",), lambda: FOUND) == FOUND
        return OTHER

    assert remembered(StepCosts, ("model",), slowly) == FOUND


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_memory_is_none(folder: Path, content: bytes | None) -> None:
    remembered(StepCosts, ("model",), lambda: FOUND)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-3] if content is None else content)
    assert remembered(StepCosts, ("model",), lambda: OTHER) == OTHER
    assert remembered(StepCosts, ("model",), never) == OTHER


def test_a_folder_that_cannot_be_written_costs_another_trial(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("no folder")
    for _ in range(2):
        assert remembered(StepCosts, ("model",), lambda: FOUND) == FOUND


@pytest.mark.parametrize(
    "known",
    [((2, 1.0),), ((1, 1.0), (4, 2.0), (2, 1.5)), ((1, 1.0), (1, 1.0)), ((1, 1.0), (2, 0.5))],
)
def test_costs_that_cannot_be_are_refused(known: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ValueError, match=r"costs are|no batch"):
        StepCosts(known)


@pytest.mark.parametrize(("rows", "cost"), [(1, 1.0), (2, 1.5), (3, 1.8), (7, 3.0), (14, 6.0)])
def test_between_known_widths_costs_go_as_the_line_does(rows: int, cost: float) -> None:
    costs = StepCosts(((1, 1.0), (2, 1.5), (7, 3.0)))
    assert costs.of(rows) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("rows", "filled", "cost"),
    [(1, 1, 1.0), (2, 4, 1.4), (3, 4, 1.4), (4, 4, 1.4), (5, 5, 1.8), (8, 8, 3.0), (9, 9, 3.375)],
)
def test_rows_are_filled_up_where_more_take_less(rows: int, filled: int, cost: float) -> None:
    costs = StepCosts(((1, 1.0), (2, 1.7), (3, 2.0), (4, 1.4), (8, 3.0)))
    assert costs.filled(rows) == filled
    assert costs.check(rows) == pytest.approx(cost)


@given(st.lists(st.floats(1, 9), min_size=1, max_size=9))
def test_a_check_of_more_rows_never_costs_less(dearer: list[float]) -> None:
    costs = StepCosts(((1, 1.0), *((2 * at + 2, cost) for at, cost in enumerate(dearer))))
    checks = [costs.check(rows) for rows in range(1, 2 * len(dearer) + 3)]
    assert checks == sorted(checks)
    assert all(check <= costs.of(rows) for rows, check in enumerate(checks, 1))


@pytest.mark.parametrize("flash", ["off", "on"])
def test_a_model_is_tried_when_it_is_first_loaded(tmp_path: Path, flash: str) -> None:
    model = write_tiny_model(tmp_path / "tiny.gguf")
    config = EngineConfig(
        context_length=256,
        max_sequences=3,
        threads=1,
        flash_attention=flash,  # type: ignore[arg-type]
    )
    told: list[float] = []
    with LLM.load(model, config, on_trial=told.append) as first:
        assert told
        assert max(told) == 1
        known = first.calibration
        widths = [rows for rows, _ in known.costs.known]
        assert (widths[0], widths[-1]) == (1, LOGITS_ROWS)
        assert 1 <= known.repeats.rows.max_repeatable_rows <= 3
        assert first.chat("Hello").usage.cached_tokens == 0  # nothing of the trial is left
        mark = first.fingerprint
    told.clear()
    with LLM.load(model, config, on_trial=told.append) as second:
        assert not told
        assert second.calibration == known
        assert second.fingerprint == mark
    with LLM.load(model, replace(config, max_sequences=1), on_trial=told.append) as alone:
        assert told  # how many decode alike is another question
        assert alone.calibration.costs == known.costs
        assert alone.fingerprint == mark


@pytest.mark.parametrize("at_once", [1, 4, 8, 16])
def test_how_many_rows_a_kernel_takes_at_once_is_found_out(at_once: int) -> None:
    runner = Ragged(at_once)
    rows = try_repeats(runner).rows  # type: ignore[arg-type]
    assert rows.multiple == at_once
    assert rows.min_prefill_rows == max(8, at_once)


@pytest.mark.parametrize(
    ("gives", "width"),
    [
        (lambda _place, lengths: lengths[_place], 8),
        (lambda _place, lengths: (lengths[_place], 8)[len(lengths) == 8 and _place == 7], 4),
        (lambda place, _lengths: place, 0),
        (lambda _place, lengths: max(lengths) - min(lengths), 0),
    ],
)
def test_passes_that_repeat_have_no_place_and_no_company_that_matters(
    gives: Callable[[int, tuple[int, ...]], float], width: int
) -> None:
    runner = Company(gives)
    assert try_exact_pass(runner, (8, 4)) == ExactPass(width)  # type: ignore[arg-type]
    assert runner.rows == [0] * 8, "something is left of the trial"


def test_passes_that_mind_the_number_of_threads_repeat_nothing() -> None:
    runner = Company(lambda place, lengths: lengths[place], minds=1)
    assert try_exact_pass(runner, (8, 4)) == ExactPass(0)  # type: ignore[arg-type]
    assert runner.team == 2


# As K-quants laid out anew are computed: four at once take less time than two.
FOURS = StepCosts(((1, 1.0), (2, 1.75), (3, 2.3), (4, 1.6), (7, 3.5), (8, 3.4), (32, 9.0)))


@pytest.mark.parametrize(("at_once", "width"), [(1, 0), (2, 0), (3, 4), (4, 4), (8, 4)])
def test_passes_are_whole_where_so_many_are_expected_that_this_is_faster(
    at_once: int, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrations, "try_costs", lambda _runner, _told: FOURS)
    model = write_tiny_model(tmp_path / "tiny.gguf")
    config = EngineConfig(
        context_length=256, max_sequences=8, at_once=at_once, threads=1, flash_attention="off"
    )
    monkeypatch.setattr(
        calibrations, "try_repeats", lambda _runner, _told: Repeats(RowClasses(8, 3))
    )
    with LLM.load(model, config) as llm:
        assert llm.calibration.repeats.rows.exact_pass == width
        mark = llm.fingerprint
    with LLM.load(model, replace(config, at_once=1)) as llm:
        assert (llm.fingerprint == mark) is (at_once == 1), "bits may differ"


def test_prompts_are_kept_apart_by_what_of_them_counts_as_read() -> None:
    usual = RowClasses(8, 3)
    mark = fingerprint_of_rows("model", usual)
    for other in (RowClasses(16, 3), RowClasses(8, 3, multiple=4), RowClasses(8, 3, grid=64)):
        assert fingerprint_of_rows("model", other) != mark
    assert fingerprint_of_rows("other", usual) != mark
    assert fingerprint_of_rows("model", RowClasses(8, 1)) == mark, "how answers are grouped"


def test_attention_by_tiles_lets_no_answer_have_company_nor_fewer_threads(tmp_path: Path) -> None:
    """Above 511 rows a single answer's context is shared out among the threads; a trial has fewer."""
    config = EngineConfig(context_length=256, max_sequences=3, threads=2, flash_attention="on")
    model = write_tiny_model(tmp_path / "tiny.gguf", weights=GGMLQuantizationType.Q4_0)
    marks = set()
    for threads in (2, 2, 1):
        with LLM.load(model, replace(config, threads=threads)) as llm:
            assert llm.calibration.repeats.rows.max_repeatable_rows == 1
            assert not llm.calibration.repeats.any_threads
            marks.add(llm.fingerprint)
    assert len(marks) == 2
    with LLM.load("toy", replace(config, kv_type="q8_0")) as llm:  # rows that are not split
        assert llm.calibration.repeats.any_threads


def test_what_on_trial_raises_ends_the_load(tmp_path: Path, folder: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.gguf")

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LLM.load(model, EngineConfig(context_length=256, threads=1), on_trial=stop)
    assert not folder.exists()


@pytest.mark.parametrize("context", [64, 96, 128])
def test_a_small_context_is_tried_as_far_as_it_goes(tmp_path: Path, context: int) -> None:
    model = write_tiny_model(tmp_path / "tiny.gguf")
    with LLM.load(model, EngineConfig(context_length=context, threads=1)) as llm:
        assert llm.chat("Hello").finish_reason in ("stop", "length")


def test_what_is_tried_again_takes_the_place_of_what_was_known() -> None:
    remembered(StepCosts, ("model",), lambda: FOUND)
    assert remembered(StepCosts, ("model",), lambda: OTHER, anew=True) == OTHER
    assert remembered(StepCosts, ("model",), never) == OTHER


def test_threads_are_as_many_as_were_the_fastest(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    with LLM.load(path, EngineConfig(context_length=256)) as llm:
        usual = llm.threads
        llm.keep_threads(usual + 1)
    with LLM.load(path, EngineConfig(context_length=512)) as llm:
        assert llm.threads == usual + 1
    with LLM.load(path, EngineConfig(context_length=512), try_again=True) as llm:
        assert llm.threads == usual
    with LLM.load(path, EngineConfig(context_length=256, threads=1)) as llm:
        assert llm.threads == 1


@pytest.mark.parametrize(
    ("kind", "value"), [(Threads, 0), (Threads, None), (DraftCost, "much"), (DraftCost, None)]
)
def test_what_is_no_number_is_refused(kind: type[Threads | DraftCost], value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        kind.from_json(value)
