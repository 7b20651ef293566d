"""What the toy is taught: the prompts are the program's own, and the answers are true."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.images.geometry import CELL
from scripts.toy.drawings import draw, pixels
from scripts.toy.encoding import IMG, IMG_BREAK, IMG_END, Encoder
from scripts.toy.tasks import PICTURE_TASKS, TEXT_TASKS, describe, picture_example, text_example
from scripts.toy.tekken import TOY_SIZE
from tests.tekken_vocabulary import both_tokenizers

if TYPE_CHECKING:
    from pathlib import Path


def test_training_and_program_encode_alike(tmp_path: Path) -> None:
    with both_tokenizers(tmp_path, TOY_SIZE) as (ours, oracle):
        tokenizer = oracle.instruct_tokenizer.tokenizer
        trained = Encoder(lambda text: tokenizer.encode(text, bos=False, eos=False))
        running = Encoder(ours.encode)
        random = Random(0)
        examples = [text_example(random, task) for task in TEXT_TASKS for _ in range(10)]
        examples += [picture_example(random, task, 100, 90) for task in PICTURE_TASKS]
        for example in examples:
            assert trained.prompt(example) == running.prompt(example)
            assert trained.answer(example) == running.answer(example)


@pytest.mark.parametrize(("width", "height"), [(84, 84), (85, 84), (100, 57)])
def test_a_picture_has_as_many_marks_as_cells(width: int, height: int) -> None:
    example = picture_example(Random(1), "colour", width, height)
    ids = Encoder(lambda _: []).prompt(example)
    assert example.drawing is not None
    _, rows, columns = (side // CELL for side in pixels(example.drawing.picture).shape)
    assert ids.count(IMG) == rows * columns
    assert (ids.count(IMG_BREAK), ids.count(IMG_END)) == (rows - 1, 1)


def test_a_description_tells_what_was_drawn() -> None:
    drawing = draw(Random(2), 112, 112, figures=2)
    left, right = drawing.figures
    told = describe(drawing).lower()
    assert told.index(f"{left.colour} {left.shape} on the left") < told.index("on the right")
    assert f"{right.colour} {right.shape} on the right." in told


def test_the_same_seed_draws_the_same() -> None:
    first, second = (draw(Random(3), 90, 112, figures=2) for _ in range(2))
    assert first.figures == second.figures
    assert first.picture.tobytes() == second.picture.tobytes()
