"""llama.cpp's quantizer in its process: what it writes, and what is left when it does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from mistral_small_edge.errors import QuantizeFailed
from mistral_small_edge.quantization import Job, Wishes, find_recipe, plan, run
from tests.quantization.imatrices import write_imatrix
from tests.tiny_gguf import TinyShape, write_tiny_model

SHAPE = TinyShape(width=256, hidden=512, layers=2)


def planned(
    tmp_path: Path,
    recipe: str,
    *,
    imatrix: Path | None = None,
    pure: bool = False,
    output_format: str | None = None,
    embedding_format: str | None = None,
) -> Job:
    wishes = Wishes(
        recipe=find_recipe(recipe),
        threads=1,
        imatrix=imatrix,
        pure=pure,
        output_format=output_format,
        embedding_format=embedding_format,
    )
    source = write_tiny_model(tmp_path / "tiny-F16.gguf", shape=SHAPE)
    return plan(source, tmp_path / "out.gguf", wishes, replace=True)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_and_all_of_the_way(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    job = planned(tmp_path, "Q4_K_M")
    written = run(job, lambda done, total: told.append((done, total)))
    assert written.label == "Q4_K_M"
    assert set(written.formats) == {"Q4_K", "Q6_K"}
    assert left(tmp_path) == ["out.gguf", "tiny-F16.gguf"]
    # Each tensor was heard of in its turn, by its own size.
    assert len(told) == len(job.source.tensors) + 1
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] == sum(one.size for one in job.source.tensors.values())


def test_pure_spares_no_matrix_and_choices_are_honoured(tmp_path: Path) -> None:
    assert run(planned(tmp_path, "Q4_K_M", pure=True), _ignore).formats == {"Q4_K": 16}
    chosen = planned(tmp_path, "Q4_K_M", output_format="F16", embedding_format="Q8_0")
    tensors = run(chosen, _ignore).tensors
    assert tensors["output.weight"].format == "F16"
    assert tensors["token_embd.weight"].format == "Q8_0"


def test_an_importance_matrix_changes_what_it_knows_and_nothing_else(tmp_path: Path) -> None:
    known = "blk.0.ffn_up.weight"
    run(planned(tmp_path, "Q4_K_S"), _ignore)
    plain = stored(tmp_path / "out.gguf")
    path = write_imatrix(tmp_path / "i.dat", {known: np.linspace(0.01, 100, 256)})
    run(planned(tmp_path, "Q4_K_S", imatrix=path), _ignore)
    weighted = stored(tmp_path / "out.gguf")
    changed = [name for name in plain if plain[name] != weighted[name]]
    assert changed == [known]


def test_garbage_for_want_of_weights_is_refused_in_llama_cpps_words(tmp_path: Path) -> None:
    path = write_imatrix(tmp_path / "i.dat", {"blk.0.ffn_up.weight": np.ones(256)})
    with pytest.raises(QuantizeFailed, match="importance matrix for tensor"):
        run(planned(tmp_path, "IQ2_XS", imatrix=path), _ignore)
    assert left(tmp_path) == ["i.dat", "tiny-F16.gguf"]


def test_a_stop_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    job = planned(tmp_path, "Q8_0")
    job.target.write_text("precious")

    def stop(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, stop)
    assert left(tmp_path) == ["out.gguf", "tiny-F16.gguf"]
    assert job.target.read_text() == "precious"


def test_a_split_model_becomes_one_file(tmp_path: Path) -> None:
    first = write_tiny_model(tmp_path / "m.gguf", shape=SHAPE, parts=2)
    wishes = Wishes(recipe=find_recipe("Q8_0"), threads=2)
    written = run(plan(first, tmp_path / "out.gguf", wishes, replace=False), _ignore)
    assert len(written.tensors) == 21
    assert not [key for key in written.values if key.startswith("split.")]


def test_what_was_not_read_as_it_was_written_is_no_result(tmp_path: Path) -> None:
    """llama.cpp pads by 32 whatever the file says."""

    def align(writer: GGUFWriter) -> None:
        writer.add_custom_alignment(128)

    source = write_tiny_model(tmp_path / "m.gguf", edit=align)
    wishes = Wishes(recipe=find_recipe("Q8_0"), threads=1)
    job = plan(source, tmp_path / "out.gguf", wishes, replace=False)
    with pytest.raises(QuantizeFailed):
        run(job, _ignore)
    assert left(tmp_path) == ["m.gguf"]


def test_a_lost_source_is_told_of(tmp_path: Path) -> None:
    job = planned(tmp_path, "Q8_0")
    os.truncate(job.source.path, 100)
    with pytest.raises(QuantizeFailed):
        run(job, _ignore)
    assert left(tmp_path) == ["tiny-F16.gguf"]


def test_the_same_numbers_come_out_that_another_quantizer_makes(tmp_path: Path) -> None:
    source = write_tiny_model(tmp_path / "m.gguf", weights=GGMLQuantizationType.F32)
    wishes = Wishes(recipe=find_recipe("Q8_0"), threads=1)
    run(plan(source, tmp_path / "out.gguf", wishes, replace=False), _ignore)
    expected = write_tiny_model(tmp_path / "q8.gguf", weights=GGMLQuantizationType.Q8_0)
    assert stored(tmp_path / "out.gguf") == stored(expected)


def stored(path: Path) -> dict[str, bytes]:
    return {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(path).tensors}


def _ignore(_done: int, _total: int) -> None:
    pass
