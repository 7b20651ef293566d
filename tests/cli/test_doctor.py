"""`doctor` as it is run: the shape of its report, and what is not in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mistral_small_edge.cli.doctor import report_object, report_text
from mistral_small_edge.doctor import Fact, Finding, Report, Section

SECRETS = {
    "HF_TOKEN": "hf_aVerySecretToken",
    "MISTRAL_SMALL_EDGE_API_KEY": "sk-another-secret",
    "HTTPS_PROXY": "http://me:hunter22@127.0.0.1:9",
}
SHAPE = {
    "versions": [
        *("Python", "fastapi", "gguf", "huggingface-hub", "llama-cpp-python", "llguidance"),
        *("mistral-small-edge", "numpy", "pillow", "system", "typer", "uvicorn"),
    ],
    "build": ["RPC", "devices", "llama.cpp", "processor offers", "uses"],
    "threads": ["logical processors", "performance cores", "processor", "quota", "threads"],
    "memory": [
        *("available", "container's limit", "free swap", "reserved huge pages", "total"),
        "transparent huge pages",
    ],
    "clock": ["driver", "governor", "hottest sensor", "throttled so far"],
    "bandwidth": ["bound on writing with mistral-small-3.2:Q4_K_M", "reading"],
    "disk": ["loading mistral-small-3.2:Q4_K_M the first time", "reading"],
    "models": None,  # whatever is here
    "remembered": None,
    "folders": ["caches", "data", "hub's cache"],
    "environment": None,
    "trial": ["toy model"],
}


def test_the_report_of_this_machine(tmp_path: Path) -> None:
    home = tmp_path / "home" / "ada"
    home.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "mistral_small_edge", "doctor", "--json"],
        env={**os.environ, **SECRETS, "HOME": str(home), "USER": "ada", "LOGNAME": "ada"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    found = json.loads(done.stdout)
    assert (done.returncode == 0) is found["works"], done.stderr
    assert found.keys() == {"version", "works", "sections"}
    assert list(found["sections"]) == list(SHAPE)
    for name, facts in SHAPE.items():
        section = found["sections"][name]
        assert section.keys() == {"facts", "findings"}
        assert facts is None or sorted(section["facts"]) == facts
        for finding in section["findings"]:
            assert finding.keys() == {"level", "text", "advice", "fatal"}
    shown = found["sections"]["environment"]["facts"]
    assert {shown[name] for name in SECRETS} == {"set"}
    for secret in (*SECRETS.values(), "hunter22", str(home), "ada/"):
        assert secret not in done.stdout
        assert secret not in done.stderr
    assert found["sections"]["trial"]["findings"][0]["level"] == "ok"


@pytest.mark.parametrize(("fatal", "works"), [(False, True), (True, False)])
def test_how_a_report_looks(fatal: bool, works: bool) -> None:
    findings = (Finding("warning", "Too hot.", "Open a window.", fatal), Finding("ok", "Fine."))
    report = Report((Section("clock", (Fact("governor", "x"), Fact("heat", "y")), findings),))
    assert report.works is works
    assert report_object(report)["works"] is works
    assert report_text(report).splitlines() == [
        "clock",
        "  governor  x",
        "  heat      y",
        "",
        "findings",
        "  ok       Fine.",
        "  WARNING  Too hot.",
        "           Open a window.",
    ]
