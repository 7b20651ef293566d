"""Looking at pictures: the same bits whatever was in memory, however often it was given up."""

from __future__ import annotations

from contextlib import closing, contextmanager
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from llama_cpp import mtmd_cpp as mtmd

from mistral_small_edge.errors import EncodeFailed, ModelLoadFailed
from mistral_small_edge.gguf import read_row_break
from mistral_small_edge.images import Image
from mistral_small_edge.llama.model import Model, load_model
from mistral_small_edge.llama.projector import Projector, ProjectorOptions
from mistral_small_edge.llama.vector_cache import VectorCache
from scripts.toy.drawings import draw
from scripts.toy.runtime import loaded
from tests.llama.test_tokenizer import OPTIONS
from tests.tiny_gguf import write_tiny_model
from tests.tiny_projector import write_tiny_projector
from tests.toy import test_toy as toy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mistral_small_edge.llama.slices import Slices

LAYERS = 3  # the toy's, too


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
    with closing(load_model(path, OPTIONS)) as model:
        yield model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_projector(tmp_path_factory.mktemp("tiny") / "eyes.gguf", layers=LAYERS)


@pytest.fixture(scope="module")
def expected(path: Path, model: Model) -> np.ndarray:
    """What SHOWN looks like to a projector that sees nothing else."""
    with opened(path, model) as eyes:
        return seen(eyes.look_at(SHOWN))


def picture(columns: int, rows: int) -> Image:
    noise = np.random.default_rng(columns * rows).bytes(3 * 28 * 28 * columns * rows)
    return Image.of(noise, 28 * columns, 28 * rows)


SHOWN = picture(3, 2)


@contextmanager
def opened(path: Path, model: Model, row_break: np.ndarray | None = None) -> Iterator[Projector]:
    """A projector on a file, which need not be there if its break is known."""
    known = read_row_break(path) if row_break is None else row_break
    options = ProjectorOptions(path=path, layers=LAYERS, row_break=known, threads=1, use_gpu=False)
    with closing(Projector(options, model, VectorCache("mark"))) as eyes:
        yield eyes


def progress(look: Slices) -> Iterator[float]:
    while look.advance() is None:
        yield look.done
    yield look.done


def seen(look: Slices) -> np.ndarray:
    told = list(progress(look))
    assert told == sorted(told)
    assert told[-1] == 1.0
    vectors: np.ndarray = look.advance()
    return vectors


def given_up(look: Slices, times: int) -> None:
    assert [look.advance() for _ in range(times)] == [None] * times
    look.close()


def fill_the_heap(random: np.random.Generator) -> None:
    """Leave no numbers in memory for the next thread: it is given the heap of one that ended."""
    sizes = random.integers(500, 150_000, 100)
    thread = Thread(target=lambda: [np.full(size, np.nan) for size in sizes])
    thread.start()
    thread.join()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (25, 21)])
def test_breaks_are_as_they_were_trained(path: Path, model: Model, size: tuple[int, int]) -> None:
    columns, rows = size
    with opened(path, model) as eyes:
        vectors = seen(eyes.look_at(picture(columns, rows)))
    assert vectors.shape == (rows * (columns + 1) - 1, 64)
    is_break = (vectors == read_row_break(path)).all(axis=1)
    assert list(np.flatnonzero(is_break)) == list(range(columns, len(vectors), columns + 1))


def test_it_looks_the_same_in_any_memory(path: Path, model: Model, expected: np.ndarray) -> None:
    """llama.cpp takes the breaks between a picture's rows from memory as it finds it."""
    random = np.random.default_rng(0)
    for _ in range(20):
        with opened(path, model) as eyes:
            for _ in range(2):
                fill_the_heap(random)
                assert np.array_equal(seen(eyes.look_at(SHOWN)), expected)


def test_the_toy_sees_what_its_evaluation_sees() -> None:
    """Which leaves flash attention off: the numbers are near, not equal."""
    drawing = draw(Random("seen twice"), 168, 140).picture
    with closing(load_model(toy.MODEL, OPTIONS)) as model, opened(toy.PROJECTOR, model) as eyes:
        vectors = seen(eyes.look_at(Image.of(drawing.tobytes(), 168, 140)))
    with loaded(toy.MODEL, toy.PROJECTOR) as runtime:
        runtime._read_picture(drawing, len(vectors))
        output = mtmd.mtmd_get_output_embd(runtime._eyes)
        assert np.allclose(vectors, np.ctypeslib.as_array(output, vectors.shape), atol=0.05)
    assert vectors.std() > 5


def test_it_stands_still_twice_a_layer(path: Path, model: Model) -> None:
    with opened(path, model) as eyes:
        for image in (SHOWN, picture(4, 1)):  # with the file to be read, and without
            assert set(progress(eyes.look_at(image))) >= {step / 7 for step in range(1, 8)}


def test_giving_up_leaves_nothing_of_it(path: Path, model: Model, expected: np.ndarray) -> None:
    with opened(path, model) as eyes:
        slices = len(list(progress(eyes.look_at(SHOWN))))
    for times in range(slices):  # most of them while the file is read
        with opened(path, model) as eyes:
            given_up(eyes.look_at(SHOWN), times)
            assert eyes.seen(SHOWN) is None
            assert np.array_equal(seen(eyes.look_at(SHOWN)), expected)
            given_up(eyes.look_at(picture(7, 5)), times % 8)
            assert np.array_equal(seen(eyes.look_at(SHOWN)), expected)


def test_what_was_seen_is_remembered(path: Path, model: Model, expected: np.ndarray) -> None:
    with opened(path, model) as eyes:
        seen(eyes.look_at(SHOWN))
        np.testing.assert_array_equal(eyes.seen(picture(3, 2)), expected)
    eyes.close()  # again


CHANGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda whole: None,
    "empty": lambda whole: b"",
    "garbage": lambda whole: b"garbage" * 1000,
    "half": lambda whole: whole[:3000],
    "almost all": lambda whole: whole[:-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_it_was_checked_is_refused_until_it_is_back(
    tmp_path: Path, model: Model, expected: np.ndarray, change: str
) -> None:
    path = write_tiny_projector(tmp_path / "eyes.gguf", layers=LAYERS)
    whole = path.read_bytes()
    with opened(path, model) as eyes:
        path.unlink()
        if (left := CHANGES[change](whole)) is not None:
            path.write_bytes(left)
        for _ in range(2):
            with pytest.raises(ModelLoadFailed) as caught:
                seen(eyes.look_at(SHOWN))
            assert caught.value.path == path
        path.write_bytes(whole)
        assert np.array_equal(seen(eyes.look_at(SHOWN)), expected)


def test_a_files_name_need_not_be_text(tmp_path: Path, path: Path, model: Model) -> None:
    """Not every system lets such a file be made."""
    gone = tmp_path / "\udcff.gguf"
    with opened(gone, model, read_row_break(path)) as eyes, pytest.raises(ModelLoadFailed):
        seen(eyes.look_at(SHOWN))


def test_what_is_no_number_is_an_error(tmp_path: Path, model: Model) -> None:
    def spoil(writer: Any) -> None:
        for tensors in writer.tensors:
            tensors["mm.2.weight"].tensor[:] = np.nan

    path = write_tiny_projector(tmp_path / "eyes.gguf", layers=LAYERS, edit=spoil)
    with opened(path, model) as eyes:
        with pytest.raises(EncodeFailed, match="3 by 2 cells"):
            seen(eyes.look_at(SHOWN))
        assert eyes.seen(SHOWN) is None
