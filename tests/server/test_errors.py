"""Every error of the program has a face on the wire."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge import errors
from mistral_small_edge.server.errors import FACES, error_object, face_of, retry_after
from mistral_small_edge.server.wire_chat import ChatCompletionRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


def leaves(cls: type[errors.EdgeError]) -> Iterator[type[errors.EdgeError]]:
    below = cls.__subclasses__()
    if not below:
        yield cls
    for one in below:
        yield from leaves(one)


@pytest.mark.parametrize("leaf", sorted(leaves(errors.EdgeError), key=str))
def test_every_error_has_a_face(leaf: type[errors.EdgeError]) -> None:
    assert any(cls in FACES for cls in leaf.__mro__)


def test_the_callers_faults_are_400_or_404_and_ours_500_and_up() -> None:
    for leaf in leaves(errors.RequestError):
        assert face_of(leaf.__new__(leaf)).status == 400
    for leaf in leaves(errors.EngineError):
        assert face_of(leaf.__new__(leaf)).status in (500, 503, 504)


def test_facts_go_along() -> None:
    body = error_object(errors.ContextLengthExceeded(10, 5))
    assert body["error"] == {
        "message": str(errors.ContextLengthExceeded(10, 5)),
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
        "prompt_tokens": 10,
        "limit": 5,
    }
    assert retry_after(errors.EngineOverloaded(3, 4)) == 4
    assert retry_after(errors.InvalidRequest("x", "y")) is None


def test_the_readme_lists_every_field_of_a_request() -> None:
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| field | |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(ChatCompletionRequest.model_fields)
