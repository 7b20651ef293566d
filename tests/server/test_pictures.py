"""Pictures over HTTP: what is refused and by which name, what is said of those that are seen."""

from __future__ import annotations

import asyncio
import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from PIL import Image

from mistral_small_edge.config import EngineConfig, ServerConfig
from mistral_small_edge.images.remote import fetch_image
from mistral_small_edge.images.sources import image_from
from mistral_small_edge.llm import LLM
from mistral_small_edge.server.pictures import Pictures
from mistral_small_edge.server.wire_messages import WireMessage
from tests.images.pictures import PICTURES, encoded
from tests.images.test_hostile import png as huge_png
from tests.images.test_remote import HOME, Site, answer
from tests.server.live import PATIENCE, serving
from tests.server.test_behaviour import CHAT, running

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTION = {"type": "text", "text": "What colour is the shape?"}
FIELD = "messages.0.content.1.image_url"
TOO_MUCH = "context_length_exceeded"
SMALL = EngineConfig(context_length=2048, max_sequences=2, threads=1)


@pytest.fixture(scope="module")
def toy() -> Iterator[LLM]:
    with LLM.load("toy", SMALL) as llm:
        yield llm


@pytest.fixture(scope="module")
def url(toy: LLM) -> Iterator[str]:
    with serving(toy) as url:
        yield url


def png(width: int, height: int, colour: str = "navy") -> bytes:
    return encoded(Image.new("RGB", (width, height), colour), "PNG")


def data_uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def shown(address: object, **more: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": address, **more}}


def asking(*pictures: object, role: str = "user", **more: object) -> dict[str, Any]:
    """A request's body: a question about pictures, the first of which is at FIELD."""
    messages = [{"role": role, "content": [QUESTION, *pictures]}]
    return {"model": "toy", "messages": messages, "max_tokens": 2} | more


def post(url: str, body: dict[str, Any], path: str = CHAT) -> httpx2.Response:
    return httpx2.post(url + path, json=body, timeout=PATIENCE)


def check_refused(
    url: str,
    body: dict[str, Any],
    words: str,
    field: str = FIELD,
    code: str = "unsupported_image",
) -> None:
    refused = post(url, body)
    error = refused.json()["error"]  # of a stream, too
    assert (refused.status_code, error["param"], error["code"]) == (400, field, code)
    assert words in error["message"]


def tokens(url: str, *pictures: object) -> list[int]:
    body = {"messages": asking(*pictures)["messages"]}
    found: list[int] = post(url, body, "/tokenize").json()["tokens"]
    return found


DOT = data_uri(png(56, 56))
REFUSED = {
    "cut short": (data_uri(PICTURES["PNG RGB"][:90]), "cannot be decoded"),
    "bomb": (data_uri(huge_png(60_000, 60_000)), "60000x60000 pixels"),
    "SVG": (data_uri(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg+xml"), "an SVG drawing"),
    "PDF": (data_uri(b"%PDF-1.7\n"), "a PDF document"),
    "PDF by its name": ("data:application/pdf;base64,JVBERi0=", "application/pdf"),
    "not base64": ("data:image/png;base64,%%%%", "malformed"),
    "percent-encoded": ("data:image/png,%89PNG", "percent-encoded"),
    "empty": ("data:image/png;base64,", "is empty"),
    "file": ("file:///etc/passwd", "data URI"),
    "FTP": ("ftp://example.org/a.png", "data URI"),
    "nothing": ("", "data URI"),
    "HTTP": ("http://example.org/a.png", "not followed here"),
    "HTTPS": ("HTTPS://example.org/a.png", "not followed here"),
}
INSIDE = (
    "http://127.0.0.1/a.png",
    "http://localhost:8080/a.png",
    "http://2130706433:8080/a.png",
    "http://[::1]:8080/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "https://10.0.0.1/a.png",
)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_seen_is_refused_first(url: str, name: str, stream: bool) -> None:
    """Before anything is sent."""
    address, words = REFUSED[name]
    check_refused(url, asking(shown(address), stream=stream), words)


def test_addresses_inside_are_not_followed(toy: LLM) -> None:
    with serving(toy, config=ServerConfig(image_urls=True)) as url:
        for address in INSIDE:
            check_refused(url, asking(shown(address)), "no public address")


@pytest.mark.parametrize(
    ("picture", "field", "words"),
    [
        (shown(DOT, detail="medium"), f"{FIELD}.detail", "'low', 'auto' or"),
        (shown(DOT, size=3), f"{FIELD}.size", "not a field"),
        (shown(7), f"{FIELD}.url", "a valid string"),
        ({"type": "image_url", "image_url": {}}, f"{FIELD}.url", "required"),
        ({"type": "image_url"}, FIELD, "required"),
        ({"type": "input_image"}, "messages.0.content.1", "'text', 'image_url'"),
        ({"type": "text", "text": None}, "messages.0.content.1.text", "a valid string"),
    ],
)
def test_a_wrong_field_is_named(url: str, picture: object, field: str, words: str) -> None:
    check_refused(url, asking(picture), words, field, "invalid_value")


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_only_the_user_shows_pictures(url: str, role: str) -> None:
    body = asking(shown(DOT), role=role)
    check_refused(url, body, "only the user shows images", FIELD, "invalid_value")


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_seen_of_a_picture_is_told(url: str, stream: bool) -> None:
    told = post(url, asking(shown(data_uri(PICTURES["GIF animated"])), stream=stream))
    assert told.status_code == 200
    assert told.headers["X-Image-Notes"] == f"{FIELD} has 4 frames; the first is seen"
    assert "X-Image-Notes" not in post(url, asking(shown(DOT), stream=stream)).headers


def test_what_is_told_stays_short(url: str) -> None:
    gifs = [shown(data_uri(PICTURES["GIF animated"], f"gif;n={at}")) for at in range(30)]
    notes = post(url, asking(*gifs)).headers["X-Image-Notes"]
    assert notes.startswith(f"{FIELD} has 4 frames; the first is seen; messages.0.content.2.")
    assert notes.endswith("; and 10 more")
    assert len(notes) < 4_000


@pytest.mark.parametrize("colours", [("red", "green", "blue"), ("red", "red", "red")])
def test_more_than_the_context_holds_is_refused(url: str, colours: tuple[str, ...]) -> None:
    body = asking(*(shown(data_uri(png(840, 840, each)), detail="high") for each in colours))
    check_refused(url, body, "the context holds 2048", "messages", TOO_MUCH)


def test_detail_says_how_many_tokens_a_picture_takes(url: str) -> None:
    square = data_uri(png(1540, 1540))
    low = post(url, asking(shown(square, detail="low"))).json()["usage"]["prompt_tokens"]
    assert low == len(tokens(url)) + 272
    for detail in ("auto", None):  # half of the context
        assert len(tokens(url, shown(square, detail=detail))) == len(tokens(url)) + 992
    high = asking(shown(square, detail="high"))
    check_refused(url, high, "3080 tokens", "messages", TOO_MUCH)


def test_tokenize_counts_a_pictures_marks(url: str, toy: LLM) -> None:
    found = tokens(url, shown(data_uri(png(84, 56))))
    marks = [toy.tokenizer.control_tokens[f"[IMG{name}]"] for name in ("", "_BREAK", "_END")]
    assert [found.count(mark) for mark in marks] == [6, 1, 1]
    assert len(found) == len(tokens(url)) + 8


def test_a_model_without_sight_says_so(url: str) -> None:
    def modalities(url: str) -> list[list[str]]:
        models = httpx2.get(f"{url}/v1/models").json()["data"]
        return [model["input_modalities"] for model in models]

    assert all(found == ["text", "image"] for found in modalities(url))
    blind = EngineConfig(context_length=2048, threads=1, vision=False)
    with LLM.load("toy", blind) as llm, serving(llm) as other:
        assert all(found == ["text"] for found in modalities(other))
        check_refused(other, asking(shown(DOT)), "without a projector")


def test_health_answers_while_a_picture_is_decoded(url: str) -> None:
    large = asking(shown(data_uri(png(7_900, 7_900)), detail="high"))
    answered = 0
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(post, url, large)
        while not refused.done():
            health = httpx2.get(f"{url}/health", timeout=PATIENCE)
            assert health.json()["status"] == "ready"
            answered += 1
    assert refused.result().json()["error"]["code"] == TOO_MUCH
    assert answered > 5  # two at most where it is decoded in the loop


def test_health_answers_while_a_picture_is_looked_at(url: str) -> None:
    body = asking(shown(data_uri(png(1_000, 1_000, "olive")), detail="high"), stream=True)
    body |= {"stream_options": {"include_progress": True}}  # it begins before there is an answer
    with httpx2.stream("POST", url + CHAT, json=body, timeout=PATIENCE) as answering:
        lines = (line for line in answering.iter_lines() if line)
        assert '"role": "assistant"' in next(lines)
        health = httpx2.get(f"{url}/health", timeout=PATIENCE)
        assert health.json()["status"] == "ready"
        assert running(url) == 1, "it is looked at for longer than that"
        assert list(lines)[-1] == "data: [DONE]"


def message(*addresses: str) -> list[WireMessage]:
    return [WireMessage.model_validate(asking(*map(shown, addresses))["messages"][0])]


def from_anywhere(url: str, param: str) -> bytes:
    return fetch_image(url, param=param, is_allowed=lambda _: True)


def test_an_address_is_followed_once_where_that_is_allowed(toy: LLM) -> None:
    data = PICTURES["GIF animated"]
    pictures = Pictures(follow=True, fetch=from_anywhere)
    with Site({"/a.png": answer(data)}) as site:
        address = site.url(host=HOME)
        images, headers = asyncio.run(pictures.of(message(address, address), toy))
    assert images == {(address, "auto"): image_from(data)}
    assert len(site.asked) == 1
    assert headers == {"X-Image-Notes": f"{FIELD} has 4 frames; the first is seen"}


def test_a_picture_that_is_long_on_its_way_keeps_none_waiting_that_is_here(toy: LLM) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(url: str, param: str) -> bytes:
        begun.set()
        assert go.wait(PATIENCE)
        return png(56, 28)

    async def both() -> None:
        pictures = Pictures(follow=True, fetch=slow)
        waiting = asyncio.ensure_future(pictures.of(message("https://example.org/"), toy))
        try:
            assert await asyncio.to_thread(begun.wait, PATIENCE)
            await asyncio.wait_for(pictures.of(message(data_uri(png(28, 28))), toy), PATIENCE / 6)
        finally:
            go.set()
        images, _ = await waiting
        assert [image.width for image in images.values()] == [56]

    asyncio.run(both())
