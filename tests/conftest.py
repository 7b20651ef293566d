"""What holds for every test: nothing leaves this machine, and no real user's files are touched."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# huggingface_hub reads these when it is first imported, too early for a fixture.
os.environ.update(
    HF_ENDPOINT="http://127.0.0.1:9",  # nobody answers there
    HF_HOME=str(Path(tempfile.gettempdir()) / f"no-home-{os.getpid()}"),  # there is none
    HF_HUB_DISABLE_TELEMETRY="1",
    NO_PROXY="127.0.0.1,localhost",
)
for name in (
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "MISTRAL_SMALL_EDGE_API_KEY",
    "MISTRAL_SMALL_EDGE_IMAGE_CACHE",
    "MISTRAL_SMALL_EDGE_MODEL",
    "MISTRAL_SMALL_EDGE_PROMPT_CACHE",
    "MISTRAL_SMALL_EDGE_SERVER",
):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything that outlives a process goes, of the processes that tests start, too."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["MISTRAL_SMALL_EDGE_CACHE"] = str(folder)
    os.environ["MISTRAL_SMALL_EDGE_DATA"] = str(tmp_path_factory.mktemp("data"))
    return folder
