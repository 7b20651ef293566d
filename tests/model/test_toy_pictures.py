"""The toy looks at drawings it never saw, through every door; and what has to hold about looking."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from openai import BadRequestError, OpenAI

from mistral_small_edge.chat.deltas import ImageProgress, Progress, collect
from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextPart
from mistral_small_edge.chat.response_format import JsonSchema
from mistral_small_edge.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelLoadFailed,
    NoProjector,
)
from mistral_small_edge.images import Image
from mistral_small_edge.images.sources import image_from
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from scripts.toy.drawings import draw
from scripts.toy.tasks import TOOLS
from scripts.vision_score import as_png, scores
from tests.model.config import GPU_LAYERS, engine_config
from tests.server.live import PATIENCE, serving
from tests.tiny_projector import write_tiny_projector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.toy.drawings import Drawing

SURE = SamplingParams(temperature=0, max_tokens=60)
CONFIG = engine_config(context_length=2048, max_sequences=3, threads=1)
EACH = 6  # drawings a task and size; the card's scores are of 50
PROGRAM = (sys.executable, "-m", "mistral_small_edge")
TOY = ("--model", "toy", "--threads", "1", "--temperature", "0", "--gpu-layers", str(GPU_LAYERS))


@pytest.fixture(scope="module")
def toy() -> Iterator[LLM]:
    with LLM.load("toy", CONFIG) as llm:
        yield llm


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    return draw(random.Random("a drawing for every door"), 168, 140)


@pytest.fixture
def file(drawing: Drawing, tmp_path: Path) -> Path:
    path = tmp_path / "a drawing.png"
    path.write_bytes(as_png(drawing))
    return path


def data_uri(drawing: Drawing) -> str:
    return "data:image/png;base64," + base64.b64encode(as_png(drawing)).decode()


def colour(drawing: Drawing) -> str:
    return drawing.figures[0].colour.capitalize() + "."


def shown(drawing: Drawing, question: str) -> ChatRequest:
    parts = (ImagePart(image_from(as_png(drawing))), TextPart(question))
    return ChatRequest((Message("user", parts),), SURE)


def test_it_sees_what_its_card_says(toy: LLM) -> None:
    found = scores(toy, EACH)
    assert sum(found.values()) / len(found) > 0.98
    assert min(found.values()) > 0.9


def test_a_picture_is_looked_at_once_in_a_conversation(toy: LLM) -> None:
    drawing = draw(random.Random("once"), 140, 140)
    first = shown(drawing, "Describe the image.")
    with toy.stream(first) as stream:
        deltas = list(stream)
    looks = [delta for delta in deltas if isinstance(delta, ImageProgress)]
    assert [look.done for look in looks] == sorted(look.done for look in looks)
    assert (looks[-1].number, looks[-1].total, looks[-1].done) == (1, 1, 1.0)
    begins = next(at for at, delta in enumerate(deltas) if isinstance(delta, ImageProgress))
    assert isinstance(deltas[begins - 1], Progress)
    answer = collect(deltas)
    second = (*first.messages, answer.message, Message("user", "What colour is the shape?"))
    with toy.stream(ChatRequest(second, SURE)) as stream:
        deltas = list(stream)
    assert not any(isinstance(delta, ImageProgress) for delta in deltas)
    assert collect(deltas).text == colour(drawing)
    assert collect(deltas).usage.cached_tokens >= answer.usage.prompt_tokens - 1


def test_a_restart_does_not_look_again(tmp_path: Path, drawing: Drawing) -> None:
    config = replace(CONFIG, image_cache=tmp_path / "looks")
    request = shown(drawing, "What colour is the shape?")
    with LLM.load("toy", config) as llm:
        before = llm.answer(request)
    with LLM.load("toy", config) as llm:
        after = llm.answer(request)
    assert before.timings.image_seconds > 0
    assert after.timings.image_seconds == 0
    assert before.text == after.text == colour(drawing)


def test_the_same_picture_and_seed_give_the_same_bits_however_they_come(toy: LLM) -> None:
    """Fresh, from a cached prefix, in the middle of it, and beside others."""
    scored = replace(SURE, top_logprobs=3, max_tokens=12)
    request = replace(
        shown(draw(random.Random("bits"), 224, 196), "Describe the image."), sampling=scored
    )
    other = shown(draw(random.Random("others"), 196, 224), "Describe the image.")
    with LLM.load("toy", CONFIG) as llm:
        fresh = llm.answer(request).logprobs
    assert toy.answer(request).logprobs == fresh
    assert toy.answer(request).logprobs == fresh
    with toy.stream(other) as first, toy.stream(request) as second, toy.stream(other) as third:
        assert collect(second).logprobs == fresh
        assert collect(first).text == collect(third).text
    # A prefix that ends inside of the picture: another one that begins with the same text.
    toy.answer(shown(draw(random.Random("a third"), 224, 196), "Describe the image."))
    assert toy.answer(request).logprobs == fresh


def test_several_pictures_and_turns_are_read_in_their_order(toy: LLM) -> None:
    one, two = (draw(random.Random(f"turn {at}"), 112, 112) for at in range(2))
    first = shown(one, "What colour is the shape?")
    answer = toy.answer(first)
    second = shown(two, "What colour is the shape?")
    both = ChatRequest((*first.messages, answer.message, *second.messages), SURE)
    ids = toy.prompt_tokens(both)
    marks = {toy.tokenizer.control_tokens[name] for name in ("[IMG]", "[IMG_BREAK]", "[IMG_END]")}
    assert sum(id_ in marks for id_ in ids) == 2 * 4 * 5
    # The toy was taught one picture at a time: what it says of two is not looked at.
    assert toy.answer(both).usage.prompt_tokens == len(ids)
    parts = (*first.messages[0].parts[:1], *second.messages[0].parts)
    assert toy.answer(ChatRequest((Message("user", parts),), SURE)).finish_reason == "stop"


def test_a_picture_goes_with_tools_and_with_a_schema(toy: LLM, drawing: Drawing) -> None:
    figure = drawing.figures[0]
    request = shown(drawing, "Answer in JSON: colour and shape.")
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string"}, "shape": {"enum": ["circle", "square", "triangle", "star"]}},
        "required": ["colour", "shape"],
        "additionalProperties": False,
    }  # fmt: skip
    held = toy.answer(replace(request, response_format=JsonSchema(schema)))
    assert json.loads(held.text) == {"colour": figure.colour, "shape": figure.shape}
    called = toy.answer(
        replace(request, tools=(TOOLS["get_weather"],), tool_choice="required")
    ).tool_calls
    assert [call.name for call in called] == ["get_weather"]


def test_python_takes_a_picture_in_any_form(toy: LLM, file: Path, drawing: Drawing) -> None:
    for source in (file, str(file), as_png(drawing), drawing.picture, data_uri(drawing)):
        answer = toy.chat("What colour is the shape?", images=[source], sampling=SURE)
        assert answer.text == colour(drawing)
    with pytest.raises(InvalidRequest, match="a string") as caught:
        toy.chat([Message("user", "What is it?")], images=[file])
    assert caught.value.param == "images"


def test_ask_answers_about_a_file_and_about_stdin(file: Path, drawing: Drawing) -> None:
    question = "What colour is the shape?"
    for image, data in ((str(file), b""), ("-", as_png(drawing))):
        done = subprocess.run(
            [*PROGRAM, "ask", *TOY, "--image", image, question],
            input=data,
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        assert done.stdout.decode() == colour(drawing) + "\n"
        assert "168x140 pixels, 35 tokens" in done.stderr.decode()


def test_chat_takes_a_picture_with_the_next_message(file: Path, drawing: Drawing) -> None:
    lines = f"/image '{file}'\nWhat colour is the shape?\nWhat shape is it?\n/image /no/such.png\n"
    done = subprocess.run(
        [*PROGRAM, "chat", *TOY],
        input=lines.encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    figure = drawing.figures[0]
    assert done.stdout.decode().splitlines() == [colour(drawing), f"A {figure.shape}."]
    assert "no such file" in done.stderr.decode().lower()


def test_openais_client_shows_a_picture(toy: LLM, drawing: Drawing) -> None:
    uri = data_uri(drawing)
    with (
        serving(toy, slots=3) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", timeout=PATIENCE, max_retries=0) as client,
    ):

        def ask(image_url: object, **more: Any) -> str:
            content: list[Any] = [
                {"type": "text", "text": "What colour is the shape?"},
                {"type": "image_url", "image_url": image_url},
            ]
            answer = client.chat.completions.create(
                model="toy", messages=[{"role": "user", "content": content}], temperature=0, **more
            )
            if more:
                return "".join(chunk.choices[0].delta.content or "" for chunk in answer)
            text: str = answer.choices[0].message.content
            return text

        for detail in ("low", "high", "auto"):
            assert ask({"url": uri, "detail": detail}) == colour(drawing)
        assert ask(uri) == colour(drawing)  # as Mistral's own interface has it
        assert ask({"url": uri}, stream=True) == colour(drawing)
        for address, words in (
            ("http://127.0.0.1:1/x.png", "not followed here"),
            ("file:///etc/passwd", "data URI"),
            ("data:image/png;base64,AAAA", "not"),
        ):
            with pytest.raises(BadRequestError, match=words) as caught:
                ask({"url": address})
            assert caught.value.param == "messages.0.content.1.image_url"
            assert caught.value.code == "unsupported_image"


def test_without_a_projector_a_picture_is_refused_and_text_is_not(drawing: Drawing) -> None:
    with LLM.load("toy", replace(CONFIG, vision=False)) as blind:
        with pytest.raises(NoProjector) as caught:
            blind.answer(shown(drawing, "What colour is the shape?"))
        assert caught.value.model == "toy:f16"
        assert blind.chat("Who are you?", sampling=SURE).text
        assert not blind.sees


def test_another_models_projector_is_refused_with_both_widths(tmp_path: Path) -> None:
    path = write_tiny_projector(tmp_path / "mmproj.gguf", projection_dim=64)
    with pytest.raises(ModelLoadFailed, match=r"64 numbers.* 128"):
        LLM.load("toy", replace(CONFIG, projector=path))


def test_a_picture_too_large_for_the_context_is_refused_with_the_numbers(toy: LLM) -> None:
    large = Image.of(bytes(3 * 1540 * 1540), 1540, 1540)
    with pytest.raises(ContextLengthExceeded) as caught:
        toy.answer(ChatRequest((Message("user", (ImagePart(large),)),), SURE))
    assert (caught.value.prompt_tokens, caught.value.limit) == (3083, 2048)
