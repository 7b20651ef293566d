"""Our OpenAPI document, used against us: whatever it allows to be sent is answered, never with 500."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from mistral_small_edge.config import ServerConfig
from tests.server.live import serving

if TYPE_CHECKING:
    from mistral_small_edge.llm import LLM

PATIENCE = 200  # seconds


def test_whatever_the_document_allows_is_answered(llm: LLM, tmp_path: Path) -> None:
    """schemathesis from the outside: its plugin does not go with the pytest that we use."""
    program = Path(sys.executable).with_name("schemathesis")
    options = ["--phases", "examples,fuzzing", "--max-examples", "30", "--seed", "1"]
    checks = ["--checks", "not_a_server_error,status_code_conformance", "--no-color"]
    # What a fuzzer asks for can take long: it is not waited for.
    with serving(llm, config=ServerConfig(request_timeout=2, max_queue=1000)) as url:
        done = subprocess.run(
            [program, "run", f"{url}/openapi.json", *options, *checks],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert "9 selected / 9 total" in done.stdout


def test_the_document_names_every_endpoint(url: str) -> None:
    document = httpx2.get(f"{url}/openapi.json").json()
    assert document["paths"].keys() == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/tokenize",
        "/detokenize",
        "/tokenizer_info",
        "/health",
        "/metrics",
    }
    assert httpx2.get(f"{url}/docs").status_code == 200
