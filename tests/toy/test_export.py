"""The exported files say what the network says: next-token logits, with and without a picture."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mistral_small_edge.gguf.header import read_header

torch = pytest.importorskip("torch", reason="the extra `toy` is not installed")
pytest.importorskip("transformers", reason="the extra `toy` is not installed")

from gguf import GGMLQuantizationType  # noqa: E402

from scripts.toy.drawings import draw, pixels  # noqa: E402
from scripts.toy.export import write_model, write_projector  # noqa: E402
from scripts.toy.network import hidden_states, new_model  # noqa: E402
from scripts.toy.runtime import Runtime, loaded  # noqa: E402
from scripts.toy.tasks import picture_example, text_example  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SIZES = ((84, 84), (112, 112), (131, 97), (224, 168))
LEAST_COSINE = 0.9999


@pytest.fixture(scope="module")
def network() -> Any:
    """Untrained; its weights are grown until logits differ as much as a trained one's."""
    model = new_model(0, layers=2).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights *= 3
        model.lm_head.weight *= 1.5
    return model


@pytest.fixture(scope="module")
def files(network: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The network as F32, so that nothing but the arithmetic differs."""
    folder = tmp_path_factory.mktemp("toy")
    model, projector = folder / "model.gguf", folder / "projector.gguf"
    write_model(network, model, GGMLQuantizationType.F32)
    write_projector(network, projector, GGMLQuantizationType.F32)
    return model, projector


@pytest.fixture(scope="module")
def runtime(files: tuple[Path, Path]) -> Iterator[Runtime]:
    with loaded(*files) as running:
        yield running


def test_logits_of_text_agree(network: Any, runtime: Runtime) -> None:
    random = Random(0)
    for task in ("fact", "copy", "tool_call", "tool_result"):
        ids = runtime.encoder.prompt(text_example(random, task))
        with torch.no_grad():
            theirs = network(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
        ours = runtime.logits(ids)
        assert 0.3 < theirs.std() < 30
        assert np.abs(ours - theirs).max() < 1e-3 * theirs.std()
        assert cosine(ours, theirs) > LEAST_COSINE


@pytest.mark.parametrize("size", SIZES)
def test_logits_of_pictures_agree(network: Any, runtime: Runtime, size: tuple[int, int]) -> None:
    example = picture_example(Random(1), "description", *size)
    assert example.drawing is not None
    picture = example.drawing.picture
    ids = runtime.encoder.prompt(example)
    values = torch.from_numpy(pixels(picture)).unsqueeze(0)
    with torch.no_grad():
        theirs = network(
            input_ids=torch.tensor([ids]),
            pixel_values=values,
            image_sizes=torch.tensor([values.shape[-2:]]),
        ).logits[0, -1]
    assert cosine(runtime.logits(ids, picture), theirs.numpy()) > LEAST_COSINE


def test_the_picture_matters(runtime: Runtime) -> None:
    example = picture_example(Random(1), "description", 112, 112)
    other = draw(Random(2), 112, 112).picture
    assert example.drawing is not None
    ids = runtime.encoder.prompt(example)
    seen, unseen = (runtime.logits(ids, picture) for picture in (example.drawing.picture, other))
    assert cosine(seen, unseen) < LEAST_COSINE


def test_batched_training_sees_what_the_original_sees(network: Any) -> None:
    random = Random(3)
    examples = [picture_example(random, "shape", 84, 112) for _ in range(2)]
    drawn = [example.drawing.picture for example in examples if example.drawing is not None]
    values = torch.from_numpy(np.stack([pixels(picture) for picture in drawn]))
    ids = torch.tensor([[1, 3, *([10] * 3 + [12]) * 4, 13, 4]] * 2)
    sizes = torch.tensor([[112, 84]] * 2)
    with torch.no_grad():
        ours = network.lm_head(hidden_states(network, ids, values))
        theirs = network(input_ids=ids, pixel_values=values, image_sizes=sizes).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_the_program_reads_the_header(files: tuple[Path, Path]) -> None:
    header = read_header(files[0])
    assert header.architecture == "mistral3"
    assert (header.head_count, header.head_count_kv, header.key_length) == (4, 2, 32)
    assert header.vocab_size == 4096


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
