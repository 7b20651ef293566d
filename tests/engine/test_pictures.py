"""Pictures in a prompt: looked at once, in slices, and part of what can be reused."""

from __future__ import annotations

from mistral_small_edge.engine.outputs import Failed, PictureProgress, PromptProgress
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.errors import EncodeFailed
from mistral_small_edge.sampling_params import SamplingParams
from tests.engine.test_engine import CHUNK, ROWS, Desk, prompt_of
from tests.fakes import FakeRunner

ONE = SamplingParams(max_tokens=1, temperature=0)
LONG = SamplingParams(max_tokens=40, ignore_eos=True)
PICTURE = (0, 20)
SHOWN = prompt_of((1, 2, PICTURE, 3, 4, 5))


def desk(slots: int = 2, *, remembers: bool = True) -> Desk:
    runner = FakeRunner(slots, context_length=500, row_classes=ROWS, remembers=remembers)
    return Desk(runner)


def test_equal_pictures_in_equal_places_are_equal_numbers_and_others_are_not() -> None:
    same = prompt_of((1, 2, PICTURE, 3))
    assert same.identity()[:22] == SHOWN.identity()[:22]
    rows = [*same.identity()[2:22], *prompt_of(((1, 20),)).identity()]
    assert len(set(rows)) == 40
    assert all(row < 0 for row in rows)
    assert Prompt((1, 2)).identity() == [1, 2]


def test_a_picture_and_text_never_share_a_chunk() -> None:
    asked = desk()
    request = asked.add(SHOWN, ONE)
    asked.run()
    asked.check_answer(request)
    chunks = [chunk for (chunk,) in asked.runner.batches]
    spans = [(chunk.start, len(chunk.tokens), chunk.vectors is not None) for chunk in chunks]
    assert spans == [
        (0, 2, False),
        (2, 6, True),
        (8, 6, True),
        (14, 5, True),
        (19, 3, True),
        (22, 3, False),
    ]


def test_a_picture_is_looked_at_once_however_often_it_is_shown() -> None:
    asked = desk(slots=3)
    requests = [asked.add(prompt_of((at, PICTURE, 3, PICTURE, 4)), ONE) for at in range(4)]
    asked.run()
    for request in requests:
        asked.check_answer(request)
    assert len(asked.runner.looks) == 1


def test_rows_of_a_picture_are_reused_without_its_vectors() -> None:
    asked = desk(slots=1, remembers=False)
    asked.add(SHOWN, ONE)
    asked.run()
    again = asked.add(prompt_of((1, 2, PICTURE, 3, 4, 5, 6, 7)), ONE)
    asked.run()
    asked.check_answer(again)
    assert asked.end(again).cached_tokens == len(SHOWN)
    assert len(asked.runner.looks) == 1


def test_a_second_look_takes_up_in_the_middle_of_a_picture() -> None:
    asked = desk(slots=1, remembers=False)
    stopped = asked.add(SHOWN, ONE)
    while len(asked.runner.lanes[0]) < 2 + CHUNK:
        asked.step()
    asked.abort(stopped)
    again = asked.add(SHOWN, ONE)
    asked.run()
    asked.check_answer(again)
    assert asked.end(again).cached_tokens == 2 + CHUNK
    assert len(asked.runner.looks) == 2


def test_running_answers_go_on_between_the_slices() -> None:
    asked = desk()
    asked.add((1, 2, 3), LONG)
    for _ in range(4):
        asked.step()
    before = len(asked.runner.batches)
    shown = asked.add(SHOWN, ONE)
    while not any(
        isinstance(out, PictureProgress) and out.done == 1 for out in asked.outputs[shown]
    ):
        asked.step()
    answered = [batch for batch in asked.runner.batches[before:] if len(batch[0].tokens) == 1]
    assert len(answered) >= 3, "a token between any two slices"


def test_progress_names_the_picture_and_comes_before_its_rows() -> None:
    asked = desk()
    request = asked.add(prompt_of((1, PICTURE, 2, (1, 5), 3)), ONE)
    asked.run()
    told = [out for out in asked.outputs[request] if isinstance(out, PictureProgress)]
    assert [(out.number, out.total, round(3 * out.done)) for out in told] == [
        (1, 2, 0), (1, 2, 1), (1, 2, 2), (1, 2, 3), (2, 2, 0), (2, 2, 1), (2, 2, 2), (2, 2, 3),
    ]  # fmt: skip
    first = asked.outputs[request].index(told[0])
    read = [out for out in asked.outputs[request][:first] if isinstance(out, PromptProgress)]
    assert [out.processed for out in read] == [0, 1]


def test_a_picture_that_nobody_waits_for_any_more_is_given_up() -> None:
    asked = desk(slots=3)
    first, second = asked.add(SHOWN, ONE), asked.add(SHOWN, ONE)
    while not asked.runner.looks:
        asked.step()
    (look,) = asked.runner.looks
    asked.abort(first)
    assert not look.closed, "the other still waits for it"
    asked.abort(second)
    assert look.closed


def test_a_picture_that_cannot_be_seen_fails_its_request_and_no_other() -> None:
    asked = desk(slots=3)
    (shown,) = SHOWN.pictures
    asked.runner.blind_to = {shown.image.digest}
    failing = asked.add(SHOWN, ONE)
    other = asked.add(prompt_of((1, (1, 5), 2)), ONE)
    asked.run()
    last = asked.outputs[failing][-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, EncodeFailed)
    asked.check_answer(other)


def test_what_is_needed_later_does_not_hold_up_what_is_needed_now() -> None:
    """A copy spares the first look at a picture that stands in the prompt once more, behind another."""
    asked = desk(remembers=False)
    twice = asked.add(prompt_of(((1, 9), (0, 1), (1, 9))), ONE)
    once = asked.add(prompt_of(((1, 9),)), SamplingParams(max_tokens=40, temperature=0))
    asked.run()
    asked.check_answer(twice)
    asked.check_answer(once)
    assert asked.runner.copies


def test_closing_gives_up_what_is_looked_at() -> None:
    asked = desk()
    asked.add(SHOWN, ONE)
    while not asked.runner.looks:
        asked.step()
    asked.engine.close()
    assert all(look.closed for look in asked.runner.looks)
