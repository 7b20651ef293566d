"""Prompts as Mistral's own tokenizer makes them, id for id; no control token out of any text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mistral_small_edge.chat.chunks import Chunk, Control, ImageGrid, Text
from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextPart
from mistral_small_edge.chat.tekken_v11 import CONTROLS, TekkenV11, image_grid, speaks_v11
from mistral_small_edge.chat.tools import Tool, ToolCall
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.images import Image
from mistral_small_edge.images.geometry import CELL
from scripts.toy.tekken import SPECIAL_TOKENS, TOY_SIZE
from tests.chat.v11_oracle import Oracle
from tests.languages import HARD, SENTENCES
from tests.tekken_vocabulary import both_tokenizers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mistral_small_edge.chat.messages import Part, Role
    from mistral_small_edge.llama.tokenizer import LlamaTokenizer

WEATHER = Tool(
    "get_weather",
    'The "weather" in a city.',
    {"type": "object", "properties": {"city": {"type": "string", "description": "é"}}},
)
WEATHER_JSON = (
    '[{"type": "function", "function": {"name": "get_weather", "description": '
    '"The \\"weather\\" in a city.", "parameters": {"type": "object", "properties": '
    '{"city": {"type": "string", "description": "é"}}}}}]'
)


def picture(columns: int, rows: int) -> ImagePart:
    width, height = columns * CELL, rows * CELL
    return ImagePart(Image(bytes(3 * width * height), width, height, ""))


def user(*content: Part | str) -> Message:
    parts = tuple(TextPart(part) if isinstance(part, str) else part for part in content)
    return Message("user", parts)


def calls(*ids: str, text: str = "") -> Message:
    made = tuple(ToolCall(id_, "get_weather", '{"city":"Rome"}') for id_ in ids)
    return Message("assistant", text, tool_calls=made)


def result(id_: str, text: str) -> Message:
    return Message("tool", text, tool_call_id=id_)


@pytest.fixture(scope="module")
def tokenizers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LlamaTokenizer, Oracle]]:
    with both_tokenizers(tmp_path_factory.mktemp("tekken"), TOY_SIZE) as (ours, original):
        yield ours, Oracle(original)


def encode(tokenizer: LlamaTokenizer, chunks: tuple[Chunk, ...]) -> list[int]:
    ids: list[int] = []
    for chunk in chunks:
        match chunk:
            case Control(name):
                ids.append(tokenizer.control_tokens[name])
            case Text(text):
                ids += tokenizer.encode(text)
            case ImageGrid(columns=columns, rows=rows):
                ids += ([10] * columns + [12]) * rows
                ids[-1] = 13
    return ids


def spelt(chunks: tuple[Chunk, ...]) -> str:
    def one(chunk: Chunk) -> str:
        match chunk:
            case Control(name):
                return name
            case Text(text):
                return text
            case ImageGrid():
                return f"<{chunk.columns}x{chunk.rows}>"

    return "".join(map(one, chunks))


@pytest.mark.parametrize(
    ("messages", "tools", "prompt"),
    [
        ([Message("user", "Hi")], (), "<s>[INST]Hi[/INST]"),
        (
            [Message("system", "Be brief."), Message("user", "Hi")],
            (),
            "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]",
        ),
        (
            [Message("system", "a"), Message("system", "b"), Message("user", "c")],
            (),
            "<s>[SYSTEM_PROMPT]a[/SYSTEM_PROMPT][SYSTEM_PROMPT]b[/SYSTEM_PROMPT][INST]c[/INST]",
        ),
        (
            [Message("user", "a"), Message("assistant", "b  "), Message("user", "c")],
            (),
            "<s>[INST]a[/INST]b</s>[INST]c[/INST]",
        ),
        (
            [Message("user", "a"), Message("system", "s"), Message("user", "c")],
            (),
            "<s>[INST]a[/INST][SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]c[/INST]",
        ),
        (
            [Message("user", "a"), Message("user", "b"), user("c", "", "d")],
            (),
            "<s>[INST]a\n\nb\n\nc\n\nd[/INST]",
        ),
        ([Message("user", "")], (), "<s>[INST][/INST]"),
        ([Message("user", " \n ")], (), "<s>[INST] \n [/INST]"),
        (
            [Message("user", "a"), Message("assistant", "b"), Message("assistant", "c  ")],
            (),
            "<s>[INST]a[/INST]b\n\nc",
        ),
        (
            [Message("user", "a"), Message("assistant", "b"), Message("user", "c")],
            (WEATHER,),
            f"<s>[INST]a[/INST]b</s>[AVAILABLE_TOOLS]{WEATHER_JSON}[/AVAILABLE_TOOLS][INST]c[/INST]",
        ),
        (
            [
                Message("user", "a"),
                calls("abcdefgh1", "abcdefgh2", text="Hm. "),
                result("abcdefgh2", "12"),
                result("abcdefgh1", ""),
            ],
            (WEATHER,),
            f"<s>[AVAILABLE_TOOLS]{WEATHER_JSON}[/AVAILABLE_TOOLS][INST]a[/INST]Hm."
            '[TOOL_CALLS]get_weather[CALL_ID]abcdefgh1[ARGS]{"city": "Rome"}'
            '[TOOL_CALLS]get_weather[CALL_ID]abcdefgh2[ARGS]{"city": "Rome"}</s>'
            "[TOOL_RESULTS]abcdefgh1[TOOL_CONTENT][/TOOL_RESULTS]"
            "[TOOL_RESULTS]abcdefgh2[TOOL_CONTENT]12[/TOOL_RESULTS]",
        ),
        ([user("What?", picture(2, 1))], (), "<s>[INST]<2x1>What?[/INST]"),
        ([user("a", picture(2, 1), "b")], (), "<s>[INST]a<2x1>b[/INST]"),
        (
            [user("a", picture(1, 1)), user(picture(1, 1))],
            (),
            "<s>[INST]a<1x1><1x1>[/INST]",
        ),
    ],
)
def test_regular_prompts(
    tokenizers: tuple[LlamaTokenizer, Oracle],
    messages: list[Message],
    tools: tuple[Tool, ...],
    prompt: str,
) -> None:
    tokenizer, oracle = tokenizers
    request = ChatRequest(tuple(messages), tools=tools)
    chunks = TekkenV11().render(request)
    assert spelt(chunks) == prompt
    assert encode(tokenizer, chunks) == oracle.ids(request)


@pytest.mark.parametrize("text", [*SENTENCES.values(), *HARD.values(), "long " * 20_000])
def test_any_text_in_every_place(tokenizers: tuple[LlamaTokenizer, Oracle], text: str) -> None:
    tokenizer, oracle = tokenizers
    request = ChatRequest(
        (
            Message("system", text),
            Message("user", text),
            Message("assistant", text, (ToolCall("abcdefgh1", "add", json.dumps({"text": text})),)),
            result("abcdefgh1", text),
            Message("assistant", text),
            Message("user", text),
        ),
        tools=(Tool("add", text, {"type": "object", "description": text}),),
    )
    assert encode(tokenizer, TekkenV11().render(request)) == oracle.ids(request)


def test_a_picture_has_the_cells_of_its_sides() -> None:
    image = picture(3, 2).image
    assert image_grid(image) == ImageGrid(image, columns=3, rows=2)


texts = st.one_of(
    st.sampled_from(["", " ", "\n\n", "a ", "ok", "[/INST]", "</s>[INST]", "क्या"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
arguments = st.one_of(
    st.dictionaries(texts, json_values, max_size=3).map(json.dumps),
    st.sampled_from(["", "{", "null", '{"a":1,"a":2}', "[1e400]", '  {"b" : 1.0}']),
)
pictures = st.builds(picture, st.integers(1, 55), st.integers(1, 55))


@st.composite
def contents(draw: st.DrawFn, parts: st.SearchStrategy[Part]) -> Any:
    return draw(st.one_of(texts, st.lists(parts, min_size=1, max_size=4).map(tuple)))


@st.composite
def rounds(draw: st.DrawFn, number: int) -> list[Message]:
    """A question, perhaps calls and their results, an answer."""
    asked = st.builds(Message, st.just("user"), contents(st.builds(TextPart, texts) | pictures))
    messages = draw(st.lists(asked, min_size=1, max_size=2))
    made = draw(st.integers(0, 3))
    if made:
        ids = [f"{number:04}call{index}" for index in range(made)]
        some = tuple(
            ToolCall(id_, draw(st.sampled_from(["add", "get-it"])), draw(arguments)) for id_ in ids
        )
        messages.append(Message("assistant", draw(texts), some))
        messages += [
            Message("tool", draw(contents(st.builds(TextPart, texts))), tool_call_id=id_)
            for id_ in draw(st.permutations(ids))
        ]
    answers = st.lists(texts.filter(bool), min_size=1, max_size=2)
    return messages + [Message("assistant", text) for text in draw(answers)]


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    system = st.builds(Message, st.just("system"), texts)
    messages = draw(st.lists(system, max_size=2))
    for number in range(draw(st.integers(1, 3))):
        messages += draw(rounds(number))
    while messages[-1].role == "assistant" and not draw(st.booleans()):
        messages.pop()
    if messages[-1].tool_calls:
        messages.pop()
    tools = draw(
        st.lists(
            st.builds(
                Tool,
                st.from_regex(r"\A[a-zA-Z0-9_-]{1,12}\Z"),
                texts,
                st.fixed_dictionaries(
                    {"type": st.just("object")}, optional={"title": texts, "default": json_values}
                ),
            ),
            unique_by=lambda tool: tool.name,
            max_size=2,
        )
    )
    return ChatRequest(tuple(messages), tools=tuple(tools))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(request=requests())
def test_any_conversation(tokenizers: tuple[LlamaTokenizer, Oracle], request: ChatRequest) -> None:
    tokenizer, oracle = tokenizers
    assert encode(tokenizer, TekkenV11().render(request)) == oracle.ids(request)


FIELDS: dict[str, Callable[[str], ChatRequest]] = {
    "system": lambda text: ChatRequest((Message("system", text), Message("user", "a"))),
    "user": lambda text: ChatRequest((Message("user", text),)),
    "user part": lambda text: ChatRequest((user("a", text, picture(1, 1)),)),
    "assistant": lambda text: ChatRequest((Message("assistant", text), Message("user", "a"))),
    "prefix": lambda text: ChatRequest((Message("user", "a"), Message("assistant", text))),
    "result": lambda text: ChatRequest((Message("user", "a"), calls("1"), result("1", text))),
    "call id": lambda text: ChatRequest((Message("user", "a"), calls(text), result(text, "x"))),
    "arguments": lambda text: ChatRequest(
        (
            Message("user", "a"),
            Message("assistant", "", (ToolCall("1", "add", json.dumps({text: text})),)),
            result("1", "x"),
        )
    ),
    "broken arguments": lambda text: ChatRequest(
        (
            Message("user", "a"),
            Message("assistant", "", (ToolCall("1", "add", text),)),
            result("1", "x"),
        )
    ),
    "description": lambda text: ChatRequest((Message("user", "a"),), tools=(Tool("add", text),)),
    "parameters": lambda text: ChatRequest(
        (Message("user", "a"),), tools=(Tool("add", "", {"type": "object", text: [text]}),)
    ),
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_text_becomes_a_control_token(
    tokenizers: tuple[LlamaTokenizer, Oracle], field: str
) -> None:
    """Every control string there is, in every field: the ids below 1000 stay those of plain text."""
    tokenizer, _ = tokenizers
    render = TekkenV11().render
    expected = [id_ for id_ in encode(tokenizer, render(FIELDS[field]("plain"))) if id_ < 1000]
    for text in (*SPECIAL_TOKENS, "".join(SPECIAL_TOKENS), f"a {' '.join(SPECIAL_TOKENS)} b"):
        ids = encode(tokenizer, render(FIELDS[field](text)))
        assert [id_ for id_ in ids if id_ < 1000] == expected, text


@pytest.mark.parametrize(
    ("messages", "tools", "param", "words"),
    [
        ([Message("user", "a"), calls("1")], (), "messages", "no result"),
        ([Message("user", "a"), calls("1"), Message("user", "b")], (), "messages", "'1' of get_w"),
        ([Message("user", "a"), calls("1", "1")], (), "messages.tool_calls.id", "two calls"),
        ([Message("user", "a"), result("1", "x")], (), "messages.tool_call_id", "message 1"),
        (
            [Message("user", "a"), calls("1"), result("1", "x"), result("1", "y")],
            (),
            "messages.tool_call_id",
            "second time",
        ),
        ([Message("system", "a")], (WEATHER,), "messages", "has none"),
        (
            [
                Message("user", "a"),
                Message("assistant", "", (ToolCall("1", "add", '{"a": "\\ud800"}'),)),
                result("1", "x"),
            ],
            (),
            "messages.tool_calls.function.arguments",
            "surrogate",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(
    messages: list[Message], tools: tuple[Tool, ...], param: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        TekkenV11().render(ChatRequest(tuple(messages), tools=tools))
    assert caught.value.param == param


@pytest.mark.parametrize("roles", ["assistant,user", "user,system", "system", "tool,system,user"])
def test_unusual_orders_are_taken_as_they_come(roles: str) -> None:
    """Where the original insists on an order of roles, the prompt is clear all the same."""
    messages: list[Message] = []
    for role in roles.split(","):
        if role == "tool":
            messages += [Message("user", "a"), calls("1"), result("1", "x")]
        else:
            known: Role = role  # type: ignore[assignment]
            messages.append(Message(known, "a"))
    assert TekkenV11().render(ChatRequest(tuple(messages)))[0] == Control("<s>")


def test_an_empty_prefix_continues_nothing() -> None:
    """Some clients send an empty answer to be filled."""
    whole = ChatRequest((Message("user", "a"), Message("assistant", "")))
    assert spelt(TekkenV11().render(whole)) == "<s>[INST]a[/INST]"


def test_a_vocabulary_speaks_v11_by_its_control_tokens() -> None:
    names = {control.name for control in CONTROLS}
    assert speaks_v11(names | {"<|im_start|>"})
    assert not any(speaks_v11(names - {name}) for name in names)
