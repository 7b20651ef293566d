"""A batch answers as the server does, request by request, and whatever is wrong with one is its result."""

from __future__ import annotations

import io
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from PIL import Image

from mistral_small_edge.batch.requests import CHAT, TEXT, BatchRequest, RequestFile
from mistral_small_edge.batch.run import run
from mistral_small_edge.config import EngineConfig
from mistral_small_edge.errors import EngineStopped, WorkerLost
from mistral_small_edge.llm import LLM
from tests.batch.lines import line, question
from tests.images.pictures import encoded
from tests.server.held_llm import HeldLLM
from tests.server.live import PATIENCE, serving
from tests.server.test_pictures import asking, data_uri, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.batch.results import Result

SLOTS = 2
CONFIG = EngineConfig(context_length=1024, max_sequences=SLOTS, threads=1)
PICTURE = shown(data_uri(encoded(Image.new("RGB", (56, 56), "navy"), "PNG")))
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
LETTERS: dict[str, Any] = {"model": "toy", "prompt": "A b c", "max_tokens": 4, "temperature": 0}
ANSWERED: dict[str, tuple[str, dict[str, Any]]] = {
    "question": (CHAT, question("What colour is the sky?")),
    "choices": (CHAT, question("What is 2 plus 2?", n=2, temperature=1, seed=3)),
    "name in capitals": (CHAT, question("Hello", model="TOY")),
    "logprobs": (CHAT, question("Hello", logprobs=True, top_logprobs=2)),
    "shape": (CHAT, question("Hello", response_format={"type": "enum", "enum": ["yes", "no"]})),
    "tool": (CHAT, question("Rome?", tools=[WEATHER], tool_choice="required")),
    "picture": (CHAT, asking(PICTURE, temperature=0)),
    "text": (TEXT, LETTERS),
    "texts": (TEXT, LETTERS | {"prompt": ["A b", "1 2 3"], "n": 2, "seed": 1}),
    "echo": (TEXT, LETTERS | {"echo": True, "logprobs": 1, "max_tokens": 0}),
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "no model": (CHAT, {"messages": []}),
    "other model": (CHAT, question("Hello", model="gpt-4o")),
    "no messages": (CHAT, {"model": "toy", "messages": []}),
    "number for text": (CHAT, {"model": "toy", "messages": [{"role": "user", "content": 7}]}),
    "unknown field": (CHAT, question("Hello", store=True)),
    "hot": (CHAT, question("Hello", temperature=3)),
    "too many choices": (CHAT, question("Hello", n=3)),
    "too long": (CHAT, question("word " * 2000)),
    "schema": (CHAT, question("Hello", response_format={"type": "regex", "regex": "("})),
    "half a character": (CHAT, question("\ud83d")),
    "address": (CHAT, asking(shown("http://example.org/a.png"))),
    "damaged picture": (CHAT, asking(shown("data:image/png;base64,AAAA"))),
    "nothing to write": (TEXT, LETTERS | {"max_tokens": 0}),
}
VOLATILE = ("id", "created", "timings")


@pytest.fixture(scope="module")
def toy() -> Iterator[LLM]:
    with LLM.load("toy", CONFIG) as llm:
        yield llm


@pytest.fixture(scope="module")
def url(toy: LLM) -> Iterator[str]:
    with serving(toy, SLOTS) as url:
        yield url


def requests(bodies: dict[str, tuple[str, dict[str, Any]]]) -> RequestFile:
    lines = [line(name, body, path) for name, (path, body) in bodies.items()]
    return RequestFile(io.BytesIO("\n".join(lines).encode()), "requests.jsonl")


def stable(body: Any) -> Any:
    """An answer without what is another one's each time."""
    kept = {name: value for name, value in body.items() if name not in VOLATILE}
    for choice in kept.get("choices", ()):
        for call in choice.get("message", {}).get("tool_calls", ()):
            del call["id"]
    kept.get("usage", {}).pop("prompt_tokens_details", None)
    return kept


def test_every_request_has_the_servers_answer(toy: LLM, url: str) -> None:
    bodies = ANSWERED | REFUSED
    results = {result.custom_id: result for result in run(toy, requests(bodies))}
    assert results.keys() == bodies.keys()
    for name, (path, body) in bodies.items():
        if name == "half a character":  # a client cannot send it as text
            continue
        said = httpx2.post(url + path, json=body, timeout=PATIENCE)
        response = json.loads(results[name].line)["response"]
        answer = (response["status_code"], stable(response["body"]))
        assert answer == (said.status_code, stable(said.json())), name
    assert {name for name, result in results.items() if result.failed} == REFUSED.keys()
    written = results["texts"].body["usage"]
    assert isinstance(written, dict)
    assert results["texts"].tokens == written["completion_tokens"]


def test_a_batch_has_no_streams(toy: LLM) -> None:
    (result,) = run(toy, requests({"a": (CHAT, question("Hello", stream=True))}))
    error: Any = result.body["error"]
    assert (result.status, error["param"]) == (400, "stream")


def test_an_alias_is_a_name(toy: LLM) -> None:
    file = requests({"a": (CHAT, question("Hello", model="gpt-4o"))})
    (result,) = run(toy, file, aliases=["gpt-4o"])
    assert (result.status, result.body["model"]) == (200, "gpt-4o")


def test_addresses_inside_are_not_followed(toy: LLM) -> None:
    file = requests({"a": (CHAT, asking(shown("http://127.0.0.1/a.png")))})
    (result,) = run(toy, file, image_urls=True)
    error: Any = result.body["error"]
    assert "no public address" in error["message"]


def test_requests_are_taken_when_they_are_wanted(toy: LLM) -> None:
    taken: list[int] = []

    def endless() -> Iterator[BatchRequest]:
        while True:
            taken.append(len(taken))
            yield BatchRequest(str(taken[-1]), CHAT, question("Hello"))

    with closing(run(toy, endless())) as results:
        done = [next(results).custom_id for _ in range(10)]
    assert len(set(done)) == 10
    assert len(taken) <= 10 + 2 * SLOTS + 1


def test_a_worker_that_is_lost_is_no_requests_failure(toy: LLM) -> None:
    class Losing(HeldLLM):
        def stream(self, request: Any) -> Any:
            raise WorkerLost("10.0.0.2:50052", "the connection broke")

    some = iter([BatchRequest("a", CHAT, question("Hello"))])
    with pytest.raises(WorkerLost):
        list(run(Losing(toy).as_llm(), some))


def test_an_engine_that_stops_is_no_requests_failure() -> None:
    llm = LLM.load("toy", CONFIG)
    found: list[Result] = []

    def some() -> Iterator[BatchRequest]:
        yield BatchRequest("a", CHAT, question("Hello", model="nosuch"))
        yield BatchRequest("b", CHAT, question("Hello"))
        llm.close()
        yield BatchRequest("c", CHAT, question("Hello"))

    with pytest.raises(EngineStopped):
        found.extend(run(llm, some()))
    assert "c" not in [result.custom_id for result in found]
    assert found[0].custom_id == "a"
