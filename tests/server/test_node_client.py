"""OpenAI's client for JavaScript, where node is there: scripts/setup fetches the client."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server.live import PATIENCE

CLIENT = Path(__file__).parents[2] / ".venv" / "npm" / "node_modules" / "openai"


@pytest.mark.skipif(
    shutil.which("node") is None or not CLIENT.exists(), reason="no node, or no openai for it"
)
def test_the_javascript_client(url: str) -> None:
    program = Path(__file__).with_name("openai_client.mjs")
    done = subprocess.run(
        ["node", program, CLIENT, f"{url}/v1"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["whole"]
    assert found["streamed"] == found["whole"]
    assert found["call"] == {"name": "ping", "arguments": "{}"}
    assert found["refused"] == {"status": 400, "param": "temperature"}
    assert "mistral-small-3.2" in found["models"]
