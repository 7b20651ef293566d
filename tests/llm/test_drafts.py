"""A smaller model writes ahead, and nothing that is said changes by it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.engine.calibration import DraftCost, StepCosts
from mistral_small_edge.errors import InvalidRequest, ModelNotFound
from mistral_small_edge.gguf import read_header
from mistral_small_edge.host import probe_host
from mistral_small_edge.llama import draft_model
from mistral_small_edge.llama.draft_model import LlamaDraft
from mistral_small_edge.llama.model import load_model
from mistral_small_edge.llm import LLM, drafts
from mistral_small_edge.llm.calibrations import remembered
from mistral_small_edge.llm.fingerprint import fingerprint
from mistral_small_edge.llm.setup import choose_options
from mistral_small_edge.sampling_params import SamplingParams
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GREEDY = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_SMALL_EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.gguf")


def config(draft: Path | None, **more: object) -> EngineConfig:
    return EngineConfig(
        context_length=256,
        threads=1,
        flash_attention="off",
        draft_model=draft,
        **more,  # type: ignore[arg-type]
    )


def assume_cost(model: Path, cost: float) -> None:
    """What a trial would have found, if the file were a much smaller one's."""
    chosen = config(model)
    host, header = probe_host(), read_header(model)
    options = choose_options(header, host, chosen)
    draft = drafts.choose(chosen, options)
    assert draft is not None
    mark = fingerprint(header.parts, options)
    cheap = StepCosts(((1, 1.0), (32, 2.0)))
    remembered(StepCosts, (mark, host.processor), lambda: cheap)
    remembered(DraftCost, (mark, draft.mark, host.processor), lambda: DraftCost(cost))


@pytest.fixture
def bold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of noise is never sure: have it write all the same."""
    monkeypatch.setattr(draft_model, "_SURE", 0.0)


@pytest.mark.usefixtures("bold")
@pytest.mark.parametrize(
    "sampling", [GREEDY, SamplingParams(temperature=1, seed=7, max_tokens=60, ignore_eos=True)]
)
def test_what_is_said_stays_what_it_is(model: Path, sampling: SamplingParams) -> None:
    assume_cost(model, 0.01)
    said = []
    for draft in (None, model):
        with LLM.load(model, config(draft)) as llm:
            said.append([llm.chat(text, sampling=sampling) for text in ("Hello", "Hello", "You")])
    plain, guessed = said
    assert [one.text for one in guessed] == [one.text for one in plain]
    drafted = sum(one.usage.drafted_tokens for one in guessed)
    accepted = sum(one.usage.accepted_tokens for one in guessed)
    assert drafted > sum(one.usage.drafted_tokens for one in plain)
    if sampling is GREEDY:  # the same model: what it writes is what is said
        assert accepted >= 0.6 * drafted


def test_its_memory_is_planned_and_answers_are_told_apart(model: Path) -> None:
    with LLM.load(model, config(None)) as llm:
        total, mark = llm.memory.total, llm.fingerprint
    with LLM.load(model, config(model)) as llm:
        assert llm.memory.draft > 0
        assert llm.memory.total == total + llm.memory.draft
        assert dict(llm.memory.parts)["guessing"] == llm.memory.draft
        assert llm.fingerprint != mark


def test_another_vocabulary_is_refused(model: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "other.gguf", extra_words=("zeal",))
    with pytest.raises(InvalidRequest, match=r"other\.gguf has another vocabulary") as raised:
        LLM.load(model, config(other))
    assert raised.value.param == "draft_model"


def test_a_file_that_is_not_there_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="none"):
        LLM.load(model, config(tmp_path / "none.gguf"))


def test_nobody_checks_guesses_that_are_off(model: Path) -> None:
    with pytest.raises(InvalidRequest, match="speculation is off"):
        config(model, speculation="off")


@pytest.fixture
def draft(model: Path) -> Iterator[LlamaDraft]:
    options = choose_options(read_header(model), probe_host(), config(None, max_sequences=2))
    with closing(LlamaDraft(load_model(model, options), options)) as written:
        yield written


@pytest.mark.usefixtures("bold")
def test_it_writes_the_same_whatever_it_was_asked_before(draft: LlamaDraft) -> None:
    text = tuple(range(10, 40))
    first = draft.write(0, text, 8)
    assert len(first) == 8
    assert draft.write(0, text, 8) == first  # rewound
    assert draft.write(0, (*text, *first[:3]), 5) == first[3:]  # as far as it was right
    draft.write(1, tuple(range(60, 90)), 3)
    draft.write(0, tuple(range(5)), 3)  # another text in the same slot
    draft.forget(0)
    assert draft.write(0, text, 8) == first


@pytest.mark.usefixtures("bold")
@pytest.mark.parametrize(("length", "written"), [(250, 6), (255, 1), (256, 0), (300, 0)])
def test_at_the_end_of_its_context_it_stops(draft: LlamaDraft, length: int, written: int) -> None:
    assert len(draft.write(0, (9,) * length, 8)) == written


def test_where_it_is_not_sure_it_writes_nothing(draft: LlamaDraft) -> None:
    assert draft.write(0, tuple(range(10, 40)), 8) == ()
