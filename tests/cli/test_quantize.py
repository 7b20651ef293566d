"""`quantize` as a person runs it, with the toy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mistral_small_edge.gguf import read_header, read_projector
from tests.tiny_gguf import TinyShape, write_tiny_model

PROGRAM = (sys.executable, "-m", "mistral_small_edge", "quantize")
TOY = Path(__file__).parents[2] / "models" / "toy"
PATIENCE = 120  # seconds


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments, "--threads", "1"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_toy_in_smaller_numbers_reads_as_it_did(tmp_path: Path) -> None:
    done = run(tmp_path, "toy", "q8_0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    path = tmp_path / "mistral-small-edge-toy-Q8_0.gguf"
    assert found["type"] == read_header(path).quantization == "Q8_0"
    assert found["after"]["path"] == path.name
    assert found["after"]["bytes"] == path.stat().st_size < 0.6 * found["before"]["bytes"]
    assert found["after"]["matrices"] == {"Q8_0": 30}
    assert found["after"]["bits_a_weight"] == pytest.approx(8.5, abs=0.1)
    assert found["after"]["perplexity"] == pytest.approx(found["before"]["perplexity"], rel=0.05)
    assert found["same_first"] > 0.9
    assert 0 <= found["divergence"] < 0.02
    assert found["tokens_read"] > 400
    again = run(tmp_path, "toy", "q8_0", "--no-check")
    assert again.returncode == 2
    assert "--force" in again.stderr
    table = run(tmp_path, "toy", "Q8_0", "--no-check", "--force")
    assert table.returncode == 0
    assert "30 F16" in table.stdout
    assert "perplexity" not in table.stdout


def test_a_projector_in_smaller_numbers(tmp_path: Path) -> None:
    done = run(tmp_path, str(TOY / "mmproj-mistral-small-edge-toy-f16.gguf"), "Q8_0")
    assert done.returncode == 0, done.stderr
    assert "it was not measured" in done.stderr
    small = read_projector(tmp_path / "mmproj-mistral-small-edge-toy-Q8_0.gguf")
    assert small.quantization == "Q8_0"


def test_a_model_that_cannot_chat_is_quantized_and_not_measured(tmp_path: Path) -> None:
    source = write_tiny_model(tmp_path / "base.gguf", chat_template=None)
    done = run(tmp_path, str(source), "Q8_0")
    assert done.returncode == 0, done.stderr
    assert "not measured: " in done.stderr
    assert (tmp_path / "base-Q8_0.gguf").exists()


def test_the_log_is_shown_to_who_asks(tmp_path: Path) -> None:
    done = run(tmp_path, "toy", "Q8_0", "--no-check", "--verbose")
    assert done.returncode == 0
    assert "token_embd.weight" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("toy", "Q9"), "Q4_K_M", 2),
        (("toy", "Q8_0", "--output-format", "Q9"), "output_format", 2),
        (("nosuch", "Q8_0"), "no model", 1),
        (("x.gguf", "Q8_0"), "no model", 1),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], said: str, code: int
) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    shape = TinyShape(width=1024, hidden=2048, layers=2)
    source = write_tiny_model(tmp_path / "m.gguf", shape=shape)
    with subprocess.Popen(
        [*PROGRAM, str(source), "IQ3_S", "--threads", "1", "--verbose", "--no-check"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as program:
        assert program.stderr is not None
        for line in program.stderr:
            if "blk.0.attn_k.weight" in line:  # some seconds are to come
                break
        program.send_signal(signal.SIGINT)
        program.stderr.read()
        assert program.wait(PATIENCE) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]
