"""Answers come out the same however they are cut; what is no call is text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.chat.chunks import Control, Text
from mistral_small_edge.chat.deltas import Finish, TextDelta, Timings, ToolCallDelta, Usage, collect
from mistral_small_edge.chat.parser import OutputParser, PlainParser
from mistral_small_edge.chat.tools import ToolCall

CALL, CALL_ID, ARGS = Control("[TOOL_CALLS]"), Control("[CALL_ID]"), Control("[ARGS]")
NAMES = ("get_weather", "add")
END = Finish("stop", Usage(1, 1, 0), Timings(0, 0, 0))
Answer = tuple[str, tuple[ToolCall, ...]]


def call_id(index: int, written: str | None) -> str:
    return written or f"fresh{index}"


def parse(chunks: list[Text | Control]) -> Answer:
    parser = OutputParser(NAMES, call_id)
    deltas = [delta for chunk in chunks for delta in parser.feed(chunk)]
    response = collect([*deltas, *parser.finish(), END])
    assert parser.num_calls == len(response.tool_calls)
    return response.text, response.tool_calls


def call(name: str, arguments: str, written: str | None = "abcDEF123") -> list[Text | Control]:
    number: list[Text | Control] = [] if written is None else [CALL_ID, Text(written)]
    return [CALL, Text(name), *number, ARGS, Text(arguments)]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([Text("Hello")], ("Hello", ())),
        ([], ("", ())),
        (call("add", '{"a": 1}'), ("", (ToolCall("abcDEF123", "add", '{"a": 1}'),))),
        (call("add", "{}", None), ("", (ToolCall("fresh0", "add", "{}"),))),
        (call("add", "{}", "short"), ("", (ToolCall("fresh0", "add", "{}"),))),
        (
            [Text("Let me see. "), *call("get_weather", '{"city": "Köln"}'), *call("add", "{}", None)],
            (
                "Let me see. ",
                (
                    ToolCall("abcDEF123", "get_weather", '{"city": "Köln"}'),
                    ToolCall("fresh1", "add", "{}"),
                ),
            ),
        ),
        (call("subtract", "{}", None), ("[TOOL_CALLS]subtract[ARGS]{}", ())),
        ([CALL, Text("add")], ("[TOOL_CALLS]add", ())),
        ([CALL, Text("add"), CALL_ID, Text("abc")], ("[TOOL_CALLS]add[CALL_ID]abc", ())),
        ([CALL, CALL, *call("add", "{}")], ("[TOOL_CALLS][TOOL_CALLS]", (ToolCall("abcDEF123", "add", "{}"),))),
        ([ARGS, Text("{}"), CALL_ID], ("[ARGS]{}[CALL_ID]", ())),
        ([*call("add", "{}"), Control("[INST]"), Text("x")], ("[INST]x", (ToolCall("abcDEF123", "add", "{}"),))),
        ([CALL, Text("add"), CALL_ID, Text("a"), CALL_ID], ("[TOOL_CALLS]add[CALL_ID]a[CALL_ID]", ())),
        (call("add", ""), ("", (ToolCall("abcDEF123", "add", ""),))),
        ([Text("[TOOL_CALLS]add[ARGS]{}")], ("[TOOL_CALLS]add[ARGS]{}", ())),
    ],
)  # fmt: skip
def test_what_is_said_and_what_is_called(chunks: list[Text | Control], expected: Answer) -> None:
    assert parse(chunks) == expected
    letters = [
        piece
        for chunk in chunks
        for piece in (map(Text, chunk.text) if isinstance(chunk, Text) else [chunk])
    ]
    assert parse(letters) == expected


chunks = st.lists(
    st.one_of(
        st.sampled_from([CALL, CALL_ID, ARGS, Control("[INST]")]),
        st.sampled_from(NAMES).map(Text),
        st.text(max_size=12).map(Text),
    ),
    max_size=12,
)


@given(chunks, st.lists(st.integers(0, 30), max_size=8))
def test_any_cut_gives_the_same_answer(whole: list[Text | Control], places: list[int]) -> None:
    cut: list[Text | Control] = []
    for chunk in whole:
        if isinstance(chunk, Control):
            cut.append(chunk)
            continue
        borders = sorted({0, len(chunk.text), *(p % (len(chunk.text) + 1) for p in places)})
        cut += [Text(chunk.text[a:b]) for a, b in pairwise(borders)]
    assert parse(cut) == parse(whole)


@given(chunks)
def test_what_calls_nothing_is_text_to_the_last_character(whole: list[Text | Control]) -> None:
    text, calls = parse(whole)
    if not calls:
        assert text == "".join(c.text if isinstance(c, Text) else c.name for c in whole)


def test_a_name_is_out_before_the_arguments() -> None:
    parser = OutputParser(NAMES, call_id)
    assert parser.feed(Text("Hm.")) == (TextDelta("Hm."),)
    for chunk in (CALL, Text("add"), CALL_ID, Text("abcDEF123")):
        assert parser.feed(chunk) == ()
    assert parser.feed(ARGS) == (ToolCallDelta(0, "abcDEF123", "add"),)
    assert parser.feed(Text('{"a')) == (ToolCallDelta(0, arguments='{"a'),)


def test_other_models_control_tokens_say_nothing() -> None:
    parser = PlainParser()
    assert parser.feed(Control("<|im_start|>")) == ()
    assert parser.feed(Text("[TOOL_CALLS]")) == (TextDelta("[TOOL_CALLS]"),)
    assert parser.finish() == ()
