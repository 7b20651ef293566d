"""The JSON Schema Test Suite on a model of noise: whatever it may say conforms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mistral_small_edge.config import EngineConfig
from mistral_small_edge.llm import LLM
from scripts.schema_suite import Report, cases, run
from scripts.toy.tekken import Tekken
from tests.tiny_gguf import TinyShape, write_tiny_model


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("tiny") / "v11.gguf"
    shape = TinyShape(context=4096)
    write_tiny_model(path, chat_template=None, tekken=Tekken(), shape=shape)
    with LLM.load(path, EngineConfig(context_length=4096, max_sequences=4, threads=1)) as llm:
        return run(llm, list(cases()), samples=2, max_tokens=150)


def test_every_answer_that_ended_conforms(report: Report) -> None:
    assert not report.wrong
    assert report.schemas > 150
    assert report.answers > report.unfinished


def test_every_refusal_says_why(report: Report) -> None:
    for name, reason in report.refused.items():
        assert reason.startswith(
            ("response_format cannot be enforced: ", "minProperties", "the schema")
        ), name


def test_the_readme_lists_the_keywords_that_are_refused(report: Report) -> None:
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    listed = readme.partition("<!-- refused -->")[2].partition("<!-- /refused -->")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == set(report.keywords)
