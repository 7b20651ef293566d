"""Every error that our server tells of is raised again as what it was."""

from __future__ import annotations

import json

import pytest

from mistral_small_edge import errors
from mistral_small_edge.llm.remote.refusals import refusal
from mistral_small_edge.server.errors import FACES, error_object

URL = "http://127.0.0.1:1"
TOLD: list[errors.EdgeError] = [
    errors.InvalidRequest("top_p is 7", "top_p"),
    errors.InvalidGrammar("this regex has no end", "response_format"),
    errors.UnsupportedImage("it is a song", "messages.0.content.1.image_url"),
    errors.NoProjector("demo", "messages.0.content.1.image_url"),
    errors.ContextLengthExceeded(9000, 8192),
    errors.AnswerCutShort("half", 7),
    errors.ModelNotFound("nosuch", ("demo", "toy")),
    errors.WorkerError("10.0.0.2:50052", "it is of no use"),
    errors.WorkerLost("10.0.0.2:50052", "it hung up", 7),
    errors.EngineLoading(3),
    errors.EngineTimeout(1.5),
    errors.EngineOverloaded(32, 33),
    errors.EngineStopped("it fell over"),
    errors.DecodeFailed(-1, 512),
    errors.EncodeFailed(1, 55, 20),
]

MODEL = errors.ModelError("the disk is gone")


def sent(error: errors.EdgeError) -> errors.EdgeError:
    body = json.loads(json.dumps(error_object(error)))
    return refusal(URL, body["error"])


@pytest.mark.parametrize("error", TOLD, ids=lambda error: type(error).__name__)
def test_the_same_error_is_raised_with_the_same_facts(error: errors.EdgeError) -> None:
    found = sent(error)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


def test_every_code_is_known() -> None:
    spoken = {FACES[cls].code for cls in FACES} - {None}
    assert spoken == {error_object(one)["error"]["code"] for one in [*TOLD, MODEL]}  # type: ignore[index]


def test_of_a_model_that_is_not_there_the_sentence_is_told() -> None:
    assert str(sent(MODEL)) == str(MODEL)
    found = sent(errors.PackageMissing("demo", "a-package==1"))
    assert type(found) is errors.ModelError
    assert str(found) == "the model demo comes in a Python package that is not installed"


@pytest.mark.parametrize(
    "told",
    [
        {"message": "no", "code": "nobody_knows"},
        {"message": "no", "code": None},
        {"message": "no"},
        {"message": "no", "code": "timeout"},  # of the body's arrival: no seconds
    ],
)
def test_what_is_not_known_is_still_a_sentence(told: dict[str, object]) -> None:
    found = refusal(URL, told)
    assert type(found) is errors.ServerFailed
    assert str(found) == f"{URL}: no"


def test_a_key_that_is_not_taken_says_so() -> None:
    found = refusal(URL, {"message": "no API key", "code": "invalid_api_key"})
    assert type(found) is errors.ServerLocked
