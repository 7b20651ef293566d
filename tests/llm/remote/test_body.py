"""A body is read by the server as the very request that it was made of."""

from __future__ import annotations

import asyncio
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_small_edge.chat.messages import (
    ChatRequest,
    ImagePart,
    Message,
    TextPart,
    TextRequest,
)
from mistral_small_edge.chat.response_format import (
    Choice,
    JsonObject,
    JsonSchema,
    LarkGrammar,
    Regex,
)
from mistral_small_edge.chat.tools import NamedTool, Tool, ToolCall
from mistral_small_edge.errors import InvalidRequest, UnsupportedImage
from mistral_small_edge.images import Image
from mistral_small_edge.llm.remote.body import chat_body, text_body
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.server.fields import refuse_unknown
from mistral_small_edge.server.pictures import Pictures
from mistral_small_edge.server.wire_chat import ChatCompletionRequest, answers
from mistral_small_edge.server.wire_text import CompletionRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.llm import LLM

CONTEXT = 1024
DEFAULTS = SamplingParams(temperature=0.7, top_p=0.9, stop=("never",), logit_bias={5: 1.0})

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
some_text = texts.filter(bool)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
objects = st.dictionaries(texts.filter(lambda name: name != "type"), values, max_size=3)


class Seer:
    """All that the server asks of a model when it opens pictures."""

    sees = True
    context_length = CONTEXT
    names = ("seer",)


def optional(some: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | some


def samplings(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[SamplingParams]:
    return st.builds(
        SamplingParams,
        temperature=st.floats(0, 2) | st.integers(0, 2),
        top_p=st.floats(0, 1, exclude_min=True),
        top_k=st.integers(0, 2**31 - 1),
        min_p=st.floats(0, 1),
        frequency_penalty=st.floats(-2, 2),
        presence_penalty=st.floats(-2, 2),
        repeat_penalty=st.floats(0.01, 10),
        logit_bias=st.dictionaries(st.integers(0, 131_071), st.floats(-100, 100), max_size=3),
        seed=optional(st.integers(-(2**63), 2**64 - 1)),
        stop=st.lists(some_text, max_size=4).map(tuple),
        max_tokens=optional(st.integers(1, 2**31 - 1)),
        **more,
    )


def picture(seed: int, columns: int, rows: int) -> Image:
    size = 28 * columns, 28 * rows
    return Image.of(bytes((seed + at * at) % 251 for at in range(3 * size[0] * size[1])), *size)


images = st.builds(picture, st.integers(0, 250), st.integers(1, 3), st.integers(1, 3))
calls = st.builds(ToolCall, texts, texts, texts)
text_parts = st.lists(st.builds(TextPart, texts), max_size=2).map(tuple)
all_parts = st.lists(st.builds(TextPart, texts) | st.builds(ImagePart, images), max_size=2).map(
    tuple
)
messages = st.one_of(
    st.builds(Message, st.just("system"), texts | text_parts),
    st.builds(Message, st.just("user"), texts | all_parts),
    st.builds(
        Message, st.just("assistant"), texts | text_parts, st.lists(calls, max_size=2).map(tuple)
    ),
    st.builds(Message, st.just("tool"), texts | text_parts, st.just(()), texts),
)
names = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
tools = st.builds(
    Tool, names, texts, objects | objects.map(lambda one: one | {"type": "object"}), st.booleans()
)
formats = st.one_of(
    st.just(JsonObject()),
    st.builds(JsonSchema, objects | st.booleans()),
    st.builds(Choice, st.lists(some_text, min_size=1, max_size=3).map(tuple)),
    st.builds(Regex, texts),
    st.builds(LarkGrammar, texts),
)


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    offered = tuple(draw(st.lists(tools, max_size=2, unique_by=lambda tool: tool.name)))
    choices: list[object] = [None, "none"]
    if offered:
        choices += ["auto", "required", NamedTool(offered[0].name)]
    return ChatRequest(
        tuple(draw(st.lists(messages, min_size=1, max_size=3))),
        draw(optional(samplings(top_logprobs=optional(st.integers(0, 20))))),
        offered,
        draw(st.sampled_from(cast("list[Any]", choices))),
        draw(st.booleans()),
        draw(optional(formats)),
    )


def read_chat(body: object) -> ChatRequest:
    """As the server's endpoint reads it."""
    wire = ChatCompletionRequest.model_validate(json.loads(json.dumps(body)))
    refuse_unknown(wire, lenient=False)
    pictures = Pictures(follow=False).of(wire.messages, cast("LLM", Seer()))
    opened, _ = asyncio.run(pictures)
    [request] = answers(wire, opened, DEFAULTS, 1).requests
    return request


@settings(deadline=None, max_examples=60)
@given(requests())
def test_a_conversation_comes_back_as_it_was(request: ChatRequest) -> None:
    found = read_chat({"model": "any"} | chat_body(request))
    assert found == replace(request, sampling=request.sampling or DEFAULTS)


@given(texts | st.lists(st.integers(0, 131_071), min_size=1).map(tuple), optional(samplings()))
def test_a_text_comes_back_as_it_was(
    prompt: str | tuple[int, ...], sampling: SamplingParams | None
) -> None:
    body = {"model": "any"} | text_body(TextRequest(prompt, sampling), CONTEXT)
    wire = CompletionRequest.model_validate(json.loads(json.dumps(body)))
    refuse_unknown(wire, lenient=False)
    wanted = sampling or DEFAULTS
    if wanted.max_tokens is None:
        wanted = replace(wanted, max_tokens=CONTEXT)
    assert wire.requests(DEFAULTS, 1) == [TextRequest(prompt, wanted)]


@pytest.mark.parametrize("size", [(55, 1), (1, 55), (55, 9)])
def test_no_cell_of_a_large_picture_is_lost(size: tuple[int, int]) -> None:
    shown = ImagePart(picture(3, *size))
    wire = ChatCompletionRequest.model_validate(
        {"model": "any"} | chat_body(ChatRequest((Message("user", (shown,)),)))
    )
    seer = Seer()
    seer.context_length = 8192
    opened, _ = asyncio.run(Pictures(follow=False).of(wire.messages, cast("LLM", seer)))
    assert list(opened.values()) == [shown.image]


def test_a_picture_that_would_be_made_smaller_is_refused() -> None:
    request = ChatRequest((Message("user", (ImagePart(picture(0, 56, 1)),)),))
    with pytest.raises(UnsupportedImage, match="1568x28"):
        chat_body(request)


UNSPEAKABLE = {"prompt_logprobs": 1, "ignore_eos": True}


@pytest.mark.parametrize("param", UNSPEAKABLE)
def test_what_has_no_field_is_refused_by_name(param: str) -> None:
    sampling = replace(SamplingParams(), **{param: UNSPEAKABLE[param]})  # type: ignore[arg-type]
    said: tuple[Callable[[], object], ...] = (
        lambda: chat_body(ChatRequest((Message("user", "hi"),), sampling)),
        lambda: text_body(TextRequest("hi", sampling), CONTEXT),
    )
    for say in said:
        with pytest.raises(InvalidRequest, match=param) as refused:
            say()
        assert refused.value.param == param


def test_every_field_of_sampling_is_carried_or_refused() -> None:
    body = chat_body(ChatRequest((Message("user", "hi"),), SamplingParams(seed=1, max_tokens=1, top_logprobs=1)))  # fmt: skip
    known = {field.name for field in fields(SamplingParams)}
    assert known == (known & body.keys()) | UNSPEAKABLE.keys()
