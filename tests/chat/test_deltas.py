"""A whole answer is the fold of its deltas."""

from __future__ import annotations

import pytest

from mistral_small_edge.chat.deltas import (
    Alternative,
    Finish,
    Progress,
    TextDelta,
    Timings,
    TokenLogprob,
    Usage,
    collect,
)

FINISH = Finish("stop", Usage(3, 2, 1), Timings(0.5, 1.5, 2.0))


def test_collect_adds_up_text_and_logprobs() -> None:
    scored = TokenLogprob("b", b"b", -0.5, (Alternative("c", b"c", -1.0),))
    response = collect([Progress(0, 3, 1), TextDelta("a"), TextDelta("b", (scored,)), FINISH])
    assert (response.text, response.logprobs) == ("ab", (scored,))
    assert (response.finish_reason, response.usage) == ("stop", FINISH.usage)
    assert response.timings.time_to_first_token == 2.0


def test_a_stream_without_an_end_is_no_answer() -> None:
    with pytest.raises(ValueError, match="Finish"):
        collect([TextDelta("a")])
