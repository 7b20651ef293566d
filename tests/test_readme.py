"""README's examples in Python, run as they are printed; the recipes have tests of their own.

The toy takes the place of the models, and a server that listens here that of the one in the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from mistral_small_edge.config import EngineConfig, ServerConfig
from mistral_small_edge.llm import LLM
from tests.script_box import ROOT
from tests.server.live import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Recipes\n")[0]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
MODELS = re.compile(r'LLM\.load\("[^"]+"')
PAGE_ID = "mistralai/Mistral-Small-3.2-24B-Instruct-2506"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a server with the toy, that answers to the model's own name."""
    config = EngineConfig(context_length=1024, max_sequences=2, threads=1)
    with (
        LLM.load("toy", config) as llm,
        serving(llm, config=ServerConfig(aliases=(PAGE_ID,))) as url,
    ):
        yield url


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_does_what_it_says(
    example: str,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (56, 56), "red").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    program = MODELS.sub('LLM.load("toy"', example).replace("http://127.0.0.1:8080", address)
    # Some go on from what an earlier one has imported.
    exec(compile(program, "README.md", "exec"), {"__name__": "readme", "LLM": LLM})  # noqa: S102
    assert capsys.readouterr().out.strip()
