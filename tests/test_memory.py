"""The arithmetic of memory: against published figures, llama.cpp's own, and a real process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.errors import InvalidRequest, NotEnoughMemory
from mistral_small_edge.gguf import ModelHeader, ProjectorHeader, read_header
from mistral_small_edge.host import Host, probe_host
from mistral_small_edge.memory import (
    MemoryPlan,
    check,
    choose_flash_attention,
    kv_bytes_per_token,
    plan,
    step_bytes,
    vision_bytes,
)
from mistral_small_edge.store.catalog import resolve

if TYPE_CHECKING:
    from mistral_small_edge.config import FlashAttention, KVType

MIB = 1 << 20
MISTRAL_SMALL = ModelHeader(
    architecture="llama",
    name="Mistral Small 3.2 24B Instruct 2506",
    quantization="Q4_K_M",
    block_count=40,
    embedding_length=5120,
    feed_forward_length=32768,
    head_count=32,
    head_count_kv=8,
    key_length=128,
    value_length=128,
    context_length=131072,
    vocab_size=131072,
    has_float_matrices=False,
    chat_template=None,
    parts=(Path("mistral-small.gguf"),),
    parameter_bytes=14_325_000_000,
    layer_bytes=(335_000_000,) * 40,
    step_bytes=13_947_000_000,
    file_size=14_333_922_848,
)
PROJECTOR = ProjectorHeader(
    path=Path("mmproj.gguf"),
    projection_dim=5120,
    block_count=24,
    embedding_length=1024,
    feed_forward_length=4096,
    head_count=16,
    image_size=1540,
    patch_size=14,
    spatial_merge_size=2,
    quantization="F16",
    parameter_bytes=878_039_040,
    file_size=878_053_248,
)
LAPTOP = Host(
    total_memory=16_000_000_000,
    available_memory=15_000_000_000,
    logical_cpus=8,
    usable_cpus=8,
    cpu_quota=None,
    performance_cores=4,
)


def planned(
    *,
    context_length: int = 4096,
    max_sequences: int = 1,
    kv_type: KVType = "f16",
    flash_attention: bool = False,
    prefill_chunk: int = 512,
) -> MemoryPlan:
    return plan(
        MISTRAL_SMALL,
        LAPTOP,
        context_length=context_length,
        max_sequences=max_sequences,
        kv_type=kv_type,
        flash_attention=flash_attention,
        prefill_chunk=prefill_chunk,
    )


def test_kv_cache_of_mistral_small() -> None:
    assert kv_bytes_per_token(MISTRAL_SMALL, "f16") == 160 * 1024
    assert planned(context_length=4096).kv == 640 * MIB
    assert planned(context_length=131072).kv == 20 * 1024 * MIB
    assert planned(context_length=32768, kv_type="q8_0").kv / 2**30 == pytest.approx(2.66, abs=0.01)
    assert kv_bytes_per_token(MISTRAL_SMALL, "q4_0") == 160 * 1024 * 18 // 64


def test_what_a_token_of_mistral_small_reads() -> None:
    step = step_bytes(MISTRAL_SMALL, "f16")
    assert step.behind(0) == MISTRAL_SMALL.step_bytes
    assert step.behind(8192) - step.behind(0) == 1280 * MIB


def test_lanes_are_rounded_up() -> None:
    assert planned(context_length=100).kv == planned(context_length=256).kv
    assert planned(context_length=257, max_sequences=3).kv == 3 * planned(context_length=512).kv


# What llama.cpp reports for a file of these dimensions, its compute and output buffers together.
@pytest.mark.parametrize(
    ("context_length", "max_sequences", "prefill_chunk", "flash_attention", "reported"),
    [
        (512, 1, 512, False, 243.5),
        (4096, 1, 64, False, 39.8),
        (4096, 4, 512, False, 316.0),
        (8192, 1, 512, False, 578.5),
        (32768, 1, 512, False, 2162.5),
        (32768, 4, 2048, False, 8650.0),
        (512, 1, 512, True, 231.0),
        (8192, 4, 512, True, 240.0),
        (32768, 1, 2048, True, 1048.6),
    ],
)
def test_compute_buffers(
    context_length: int,
    max_sequences: int,
    prefill_chunk: int,
    flash_attention: bool,
    reported: float,
) -> None:
    memory = planned(
        context_length=context_length,
        max_sequences=max_sequences,
        prefill_chunk=prefill_chunk,
        flash_attention=flash_attention,
    )
    # Rows are also quantized for the products, and scores made F16, in scratch memory that no report
    # mentions; and the reports are of contexts that keep the logits of one row a sequence.
    scores = 0 if flash_attention else MISTRAL_SMALL.head_count * context_length
    scratch = prefill_chunk * max(MISTRAL_SMALL.feed_forward_length, 2 * scores)
    scratch += (32 - max_sequences) * MISTRAL_SMALL.vocab_size * 4
    assert memory.compute + memory.logits - scratch == pytest.approx(reported * MIB, rel=0.06)


@given(
    st.integers(64, 131072), st.integers(1, 16), st.integers(1, 4096), st.booleans(), st.booleans()
)
def test_more_never_takes_less(context: int, lanes: int, chunk: int, flash: bool, q8: bool) -> None:
    def total(context: int, lanes: int, chunk: int) -> int:
        return planned(
            context_length=context,
            max_sequences=lanes,
            prefill_chunk=chunk,
            flash_attention=flash,
            kv_type="q8_0" if q8 else "f16",
        ).total

    least = total(context, lanes, chunk)
    assert least <= total(context + 100, lanes, chunk)
    assert least <= total(context, lanes + 1, chunk)
    assert least <= total(context, lanes, chunk + 64)


# What a process grew by at most, with a file of these dimensions and a square picture.
@pytest.mark.parametrize(
    ("image_size", "layers", "parameter_bytes", "grown"),
    [
        (560, 2, 139_661_312, 279_273_472),
        (1120, 2, 139_661_312, 682_590_208),
        (1540, 2, 139_661_312, 1_161_203_712),
        (1540, 24, 878_039_040, 1_899_880_448),
    ],
)
def test_looking_at_the_largest_picture(
    image_size: int, layers: int, parameter_bytes: int, grown: int
) -> None:
    projector = replace(
        PROJECTOR, image_size=image_size, block_count=layers, parameter_bytes=parameter_bytes
    )
    assert grown <= vision_bytes(projector) <= 1.05 * grown


@given(st.integers(1, 1 << 14), st.integers(1, 1 << 12), st.integers(1, 1 << 14))
def test_a_larger_projector_never_takes_less(out: int, width: int, hidden: int) -> None:
    projector = replace(
        PROJECTOR, projection_dim=out, embedding_length=width, feed_forward_length=hidden
    )
    least = vision_bytes(projector)
    for name in ("projection_dim", "embedding_length", "feed_forward_length", "parameter_bytes"):
        assert vision_bytes(replace(projector, **{name: getattr(projector, name) + 4})) >= least
    # Pictures are cut into cells of 28 pixels, and a part of one is stretched to a whole.
    assert vision_bytes(replace(projector, image_size=1513)) == least
    assert vision_bytes(replace(projector, image_size=1541)) > least


def test_a_plan_adds_up_and_is_checked() -> None:
    memory = planned()
    assert memory.total == sum(size for _, size in memory.parts)
    fits = replace(LAPTOP, available_memory=memory.total)
    check(memory, fits)
    with pytest.raises(NotEnoughMemory) as caught:
        check(memory, replace(fits, available_memory=memory.total - 1))
    assert caught.value.needed == memory.total
    assert caught.value.available == memory.total - 1
    assert dict(caught.value.parts)["context"] == 640 * MIB
    assert "weights 14.3 GB" in str(caught.value)


def test_what_stays_where_layers_go_elsewhere() -> None:
    memory = planned()
    assert memory.kept(MISTRAL_SMALL, 40) == memory
    half, none = memory.kept(MISTRAL_SMALL, 20), memory.kept(MISTRAL_SMALL, 0)
    assert half.weights == memory.weights - 20 * 335_000_000
    assert half.kv == memory.kv // 2
    assert half.compute == memory.compute + memory.inputs  # and the messages
    assert (none.kv, none.compute) == (0, 2 * memory.inputs)
    assert none.weights == memory.weights - sum(MISTRAL_SMALL.layer_bytes)
    for other in (half, none):
        assert (other.logits, other.program) == (memory.logits, memory.program)


def test_a_smaller_model_and_pictures_stay_here() -> None:
    small, seeing = planned(context_length=512), replace(planned(), vision=2 * MIB)
    kept = seeing.with_draft(small).kept(MISTRAL_SMALL, 0)
    assert kept.vision == 2 * MIB
    assert kept.draft == small.total - small.program


@pytest.mark.parametrize(
    ("wanted", "kv_type", "context_length", "expected"),
    [
        ("auto", "f16", 8192, False),
        ("auto", "f16", 16384, False),
        ("auto", "f16", 16385, True),
        ("auto", "q8_0", 512, True),
        ("on", "f16", 512, True),
        ("off", "f16", 131072, False),
        ("on", "q4_0", 512, True),
    ],
)
def test_flash_attention(
    wanted: FlashAttention, kv_type: KVType, context_length: int, expected: bool
) -> None:
    chosen = choose_flash_attention(
        MISTRAL_SMALL,
        context_length=context_length,
        kv_type=kv_type,
        prefill_chunk=512,
        wanted=wanted,
    )
    assert chosen is expected


@pytest.mark.parametrize(
    ("header", "wanted", "param"),
    [
        (MISTRAL_SMALL, "off", "flash_attention"),
        (replace(MISTRAL_SMALL, key_length=80, value_length=80), "auto", "kv_type"),
    ],
)
def test_what_llama_cpp_cannot_do(header: ModelHeader, wanted: FlashAttention, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        choose_flash_attention(
            header, context_length=512, kv_type="q8_0", prefill_chunk=512, wanted=wanted
        )
    assert caught.value.param == param


@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere mapped files count differently")
@pytest.mark.parametrize(
    ("model", "context_length", "kv_type"),
    [
        ("toy", 512, "f16"),
        ("toy", 2048, "q8_0"),
        ("toy", 8192, "f16"),
        ("demo", 512, "f16"),
        ("demo", 1024, "q8_0"),
    ],
)
def test_a_real_process_takes_what_was_planned(
    model: str, context_length: int, kv_type: KVType
) -> None:
    path = resolve(model).path
    header = read_header(path)
    flash_attention = choose_flash_attention(
        header,
        context_length=context_length,
        kv_type=kv_type,
        prefill_chunk=512,
        wanted="auto",
    )
    memory = plan(
        header,
        probe_host(),
        context_length=context_length,
        max_sequences=1,
        kv_type=kv_type,
        flash_attention=flash_attention,
        prefill_chunk=512,
    )
    # Of the tiny ones most is the program itself, which differs from one system to the other.
    planned = pytest.approx(memory.total, rel=0.1, abs=15e6)
    assert peak_of_filling(path, context_length, kv_type) == planned


def peak_of_filling(path: Path, context_length: int, kv_type: KVType) -> int:
    """Bytes that were resident at most in a process of its own."""
    # The gguf package imports mistral_common where it finds it: 40 MB that only developers have.
    program = (
        "import runpy, sys; sys.modules['mistral_common'] = None; "
        "runpy.run_module('tests.gguf.llama_child', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "fill", path, str(context_length), kv_type],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(done.stdout.removeprefix("peak "))
