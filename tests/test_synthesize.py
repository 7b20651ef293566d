"""Models of noise: as large as the published ones, and as llama.cpp would have quantized them."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType
from gguf.quants import dequantize

from mistral_small_edge.chat.jinja_template import JinjaTemplate
from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.chat.tekken_v11 import TekkenV11
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.gguf import read_header
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.synthesize import main
from scripts.synthetic.quants import QUANTS, file_type, quantize
from scripts.synthetic.text import TextShape, text_mix, text_size, write_text_model
from scripts.synthetic.whole_file import Refused, check_room, whole_file
from scripts.toy.tekken import TOY_SIZE
from tests.script_box import complete_box

if TYPE_CHECKING:
    from pathlib import Path

Q4_K_M = LlamaFileType.MOSTLY_Q4_K_M
TRUE = TextShape()
TINY = TextShape(
    layers=4, width=256, hidden=256, heads=4, kv_heads=1, head_width=64, vocabulary=TOY_SIZE
)
PUBLISHED = {  # bytes
    "Q2_K": 8_890_338_848,
    "Q3_K_M": 11_474_095_648,
    "Q4_K_S": 13_549_293_088,
    "Q4_K_M": 14_333_922_848,
    "Q5_K_M": 16_763_997_728,
    "Q6_K": 19_345_952_288,
    "Q8_0": 25_054_793_248,
}
KEYS_AND_VOCABULARY = 7_896_608  # bytes, the same in all of them
COARSEST = 0.4  # error of two bits a weight, in deviations
# Types that the mixes are made of; every published file is a mix of some.
TYPES = (
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ3_S", "IQ4_XS", "IQ4_NL"),
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "BF16", "F32"),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "tiny.gguf"
    write_text_model(path, TINY, Q4_K_M)
    return path


@pytest.mark.parametrize("quant", PUBLISHED)
def test_the_true_shape_has_the_published_size(quant: str) -> None:
    size = text_size(TRUE, text_mix(TRUE, file_type(quant)))
    assert size == PUBLISHED[quant] - KEYS_AND_VOCABULARY


def test_a_mix_is_that_of_files_made_with_an_importance_matrix() -> None:
    assert (
        f"{text_size(TRUE, text_mix(TRUE, LlamaFileType.MOSTLY_IQ4_XS)) / 1e9:.2f}" == "12.75"
    )  # 12.88 without


def test_half_of_the_layers_have_finer_types_in_q4_k_m() -> None:
    kinds = text_mix(TRUE, Q4_K_M)
    for matrix in ("attn_v", "ffn_down"):
        finer = [kinds[f"blk.{layer}.{matrix}.weight"].name == "Q6_K" for layer in range(40)]
        assert finer == [layer < 5 or layer >= 35 or layer % 3 == 1 for layer in range(40)]
    assert kinds["output.weight"].name == "Q6_K"
    assert kinds["token_embd.weight"].name == "Q4_K"


@pytest.mark.parametrize("quant", QUANTS)
def test_every_mix_that_is_offered_can_be_made(quant: str) -> None:
    kinds = text_mix(TINY, file_type(quant))
    assert {kind.name for kind in kinds.values()} <= set(TYPES)


@pytest.mark.parametrize("quant", ["IQ1_M", "IQ2_XXS", "IQ2_M", "Q2_K_S", "IQ3_XXS", "IQ3_XS"])
def test_llama_cpp_refuses_what_is_not_offered(quant: str) -> None:
    assert quant not in QUANTS
    with pytest.raises(Refused, match=rf"does not quantize to MOSTLY_{quant}: .*importance matrix"):
        text_mix(TINY, LlamaFileType[f"MOSTLY_{quant}"])


@pytest.mark.parametrize("kind", TYPES)
def test_numbers_survive_quantization(kind: str) -> None:
    values = np.random.default_rng(0).standard_normal((8, 512), np.float32)
    stored = quantize(values, GGMLQuantizationType[kind])
    back = dequantize(stored.reshape(8, -1), GGMLQuantizationType[kind])
    assert np.std(back - values) < COARSEST


def test_it_says_what_it_is(tiny: Path) -> None:
    header = read_header(tiny)
    assert (header.architecture, header.name) == ("llama", "Synthetic Mistral Small 3.2")
    fields = GGUFReader(tiny).fields
    assert fields["general.file_type"].contents() == Q4_K_M
    assert fields["general.quantization_version"].contents() == 2


def test_it_answers_in_finite_noise(tiny: Path) -> None:
    sampling = SamplingParams(temperature=0, max_tokens=5, top_logprobs=1)
    with LLM.load(tiny, EngineConfig(context_length=256, threads=1)) as llm:
        answer = llm.chat("a", sampling=sampling)
    assert answer.usage.prompt_tokens == 4  # <s>[INST]a[/INST]
    assert answer.logprobs
    assert all(isfinite(token.logprob) for token in answer.logprobs)


def test_its_template_gives_the_prompt_that_we_write(tiny: Path) -> None:
    template = read_header(tiny).chat_template
    assert template is not None
    marks = ["<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    request = ChatRequest(
        (
            Message("system", "Be brief."),
            Message("user", " What is it?\n"),
            Message("assistant", "A light."),
            Message("user", "Where?"),
        ),
        SamplingParams(),
    )
    rendered = JinjaTemplate(template, marks, "<s>", "</s>").render(request)
    assert rendered == TekkenV11().render(request)


def test_layers_repeat_one(tiny: Path) -> None:
    tensors = {tensor.name: tensor for tensor in GGUFReader(tiny).tensors}
    for matrix in ("attn_q", "attn_v", "ffn_down"):
        kept: dict[str, bytes] = {}
        for layer in range(TINY.layers):
            tensor = tensors[f"blk.{layer}.{matrix}.weight"]
            data = tensor.data.tobytes()
            assert kept.setdefault(tensor.tensor_type.name, data) == data
        assert len(kept) == (1 if matrix == "attn_q" else 2)


def test_a_seed_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again.gguf", tmp_path / "other.gguf"
    write_text_model(again, TINY, Q4_K_M)
    write_text_model(other, TINY, Q4_K_M, seed=1)
    assert again.read_bytes() == tiny.read_bytes() != other.read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quant", "Q4_K_XXL"], "--quant Q4_K_XXL is none of Q2_K, "),
        (["--quant", "IQ2_XXS"], "Q8_0, F16, BF16, F32 (llama.cpp makes some others, but from an "),
        (["--layers", "0"], "--layers 0 is less than 1\n"),
        (["--layers", "600"], "--layers 600 is not between 1 and 512\n"),
        (["--seed", "-1"], "--seed -1 is less than 0\n"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["text", str(tmp_path / "model.gguf"), *words], said, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["text", "projector"])
def test_a_path_that_cannot_be_written_is_one_sentence(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused([what, str(tmp_path)], f"{tmp_path} is a directory\n", capsys)
    path = tmp_path / "none" / "model.gguf"
    refused([what, str(path)], f"{path} cannot be written: No such file or directory\n", capsys)
    assert list(tmp_path.iterdir()) == []


def refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("scripts/synthesize: ")
    assert told.count("\n") == 1
    assert said in told


def test_a_full_disk_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"would take 4611686018\.4 GB, and its disk has"):
        check_room(tmp_path / "model.gguf", 1 << 62)


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_text("before")

    def write(text: str) -> None:
        with whole_file(path) as part:
            part.write_text(text[:3])
            part.write_text(str(int(text)))

    with pytest.raises(ValueError, match="after"):
        write("after")
    assert [(file, file.read_text()) for file in tmp_path.iterdir()] == [(path, "before")]
    write("1234")
    assert [(file, file.read_text()) for file in tmp_path.iterdir()] == [(path, "1234")]


def test_the_projector_is_written_by_the_same_command(tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    main(["projector", str(path), "--layers", "1", "--projection-dim", "32"])
    assert [file.name for file in tmp_path.iterdir()] == ["mmproj.gguf"]
    assert GGUFReader(path).fields["clip.vision.projection_dim"].contents() == 32


def test_the_script_stays_where_the_caller_is(tmp_path: Path) -> None:
    box = complete_box(tmp_path)
    done = box.run("scripts/synthesize", "text", "my model.gguf")
    assert (done.returncode, done.stdout) == (0, "")
    assert "-m scripts.synthesize text my model.gguf" in box.calls()[-1]
