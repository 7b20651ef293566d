"""Ids that clients send become the model's nine characters, always the same ones."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.chat.call_ids import CallIds
from mistral_small_edge.chat.messages import Message
from mistral_small_edge.chat.tools import ToolCall

NINE = re.compile(r"[a-zA-Z0-9]{9}")
ids = st.lists(
    st.one_of(st.text(max_size=20), st.from_regex(r"\A[a-zA-Z0-9]{9}\Z")), unique=True, max_size=8
)


def conversation(some: list[str]) -> list[Message]:
    calls = tuple(ToolCall(id_, "add", "{}") for id_ in some)
    results = [Message("tool", "x", tool_call_id=id_) for id_ in some]
    return [Message("user", "a"), Message("assistant", "", calls), *results]


@given(ids, ids)
def test_each_id_has_nine_characters_of_its_own(first: list[str], later: list[str]) -> None:
    known = CallIds(conversation(first))
    mapped = [known.for_model(id_) for id_ in first]
    assert all(map(NINE.fullmatch, mapped))
    assert len(set(mapped)) == len(first)
    longer = CallIds([*conversation(first), *conversation(later)])
    natives = {id_ for id_ in later if NINE.fullmatch(id_)}
    for id_, nine in zip(first, mapped, strict=True):
        # A turn more does not change the prompt before it.
        assert longer.for_model(id_) == nine or nine in natives


@given(ids)
def test_native_ids_stay(some: list[str]) -> None:
    known = CallIds(conversation(some))
    for id_ in filter(NINE.fullmatch, some):
        assert known.for_model(id_) == id_


@given(ids, st.lists(st.one_of(st.none(), st.from_regex(r"\A[ab]{9}\Z"), st.text(max_size=9))))
def test_ids_of_an_answer_are_usable_new_and_repeatable(
    some: list[str], written: list[str | None]
) -> None:
    def answer() -> list[str]:
        known = CallIds(conversation(some))
        return [known.of_answer(index, id_) for index, id_ in enumerate(written)]

    given_out = answer()
    assert given_out == answer()
    assert all(map(NINE.fullmatch, given_out))
    assert len({*given_out, *map(CallIds(conversation(some)).for_model, some)}) == len(
        given_out
    ) + len(some)
    taken = {*some, *map(CallIds(conversation(some)).for_model, some)}
    for id_, wanted in zip(given_out, written, strict=True):
        fresh = wanted is not None and NINE.fullmatch(wanted) and written.count(wanted) == 1
        if fresh and wanted not in taken:
            assert id_ == wanted
