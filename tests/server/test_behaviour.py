"""The server as a neighbour: who is let in, who leaves, what arrives broken."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import httpx2
import psutil
import pytest
from openai import OpenAI

from mistral_small_edge.config import ServerConfig
from mistral_small_edge.errors import ModelLoadFailed, WorkerLost
from tests.server.held_llm import HeldLLM
from tests.server.live import PATIENCE, serving

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.llm import LLM

CHAT = "/v1/chat/completions"
HELLO: dict[str, Any] = {
    "model": "mistral-small-3.2",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 3,
}
ENDLESS = HELLO | {"max_tokens": 1900, "logit_bias": {"2": -100}, "stream": True}
JSON = {"Content-Type": "application/json"}


def post(url: str, path: str = CHAT, body: Any = HELLO, **more: Any) -> httpx2.Response:
    return httpx2.post(url + path, json=body, timeout=PATIENCE, **more)


def figures(url: str) -> dict[str, float]:
    lines = httpx2.get(f"{url}/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def running(url: str) -> float:
    return figures(url)["mistral_small_edge_answers_running"]


def wait_until_idle(url: str) -> None:
    """Asks until nothing runs; a test's own time is bounded by the suite's."""
    deadline = threading.Event()
    timer = threading.Timer(PATIENCE, deadline.set)
    timer.start()
    while running(url):
        assert not deadline.is_set(), "answers go on that nobody reads"
    timer.cancel()


def test_the_pages_own_example_works_with_the_host_changed(url: str) -> None:
    answer = post(url, "/api/v1/chat/completions", HELLO, headers={"Authorization": "Bearer x"})
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]


def test_models(url: str) -> None:
    listed = httpx2.get(f"{url}/v1/models").json()["data"]
    names = [model["id"] for model in listed]
    assert "mistralai/Mistral-Small-3.2-24B-Instruct-2506" in names
    for name in names:
        assert httpx2.get(f"{url}/v1/models/{name}").json()["max_model_len"] == 2048
    assert httpx2.get(f"{url}/v1/models/gpt-5").status_code == 404


def test_tokens_there_and_back(url: str, llm: LLM) -> None:
    whole = post(url, "/tokenize", {"prompt": "Grüß [INST] dich"}).json()
    plain = {"prompt": "Grüß [INST] dich", "add_special_tokens": False}
    found = post(url, "/tokenize", plain).json()
    assert whole["tokens"] == [1, *found["tokens"]]
    assert httpx2.get(f"{url}/tokenizer_info").json()["vocab_size"] == 4096
    assert found["count"] == len(found["tokens"])
    assert found["max_model_len"] == 2048
    assert min(found["tokens"]) >= 1000
    back = post(url, "/detokenize", {"tokens": found["tokens"]}).json()
    assert back == {"prompt": "Grüß [INST] dich"}
    tool = {"type": "function", "function": {"name": "f"}}
    prompt = post(url, "/tokenize", {"messages": HELLO["messages"], "tools": [tool]}).json()
    assert prompt["tokens"][:2] == [1, 5]
    for wrong in ({}, {"prompt": "a", "messages": []}, {"prompt": 3}, {"prompt": "a", "x": 1}):
        assert post(url, "/tokenize", wrong).status_code == 400
    for ids in ([-1], [4096], ["a"], None):
        assert post(url, "/detokenize", {"tokens": ids}).status_code == 400


def test_figures_count(llm: LLM) -> None:
    with serving(llm) as url:
        post(url)
        post(url, body={})
        found = figures(url)
    assert found['mistral_small_edge_responses_total{status="200"}'] == 1
    assert found['mistral_small_edge_responses_total{status="400"}'] == 1
    assert found['mistral_small_edge_tokens_total{kind="completion"}'] == 3
    assert found["mistral_small_edge_time_to_first_token_seconds_count"] == 1


def test_health_says_loading_ready_or_failed(llm: LLM, tmp_path: Path) -> None:
    loading: Future[LLM] = Future()
    with serving(loading) as url:
        health = httpx2.get(f"{url}/health")
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        assert int(health.headers["Retry-After"]) > 0
        early = post(url)
        assert (early.status_code, early.json()["error"]["code"]) == (503, "model_loading")
        assert int(early.headers["Retry-After"]) > 0
        loading.set_result(llm)
        assert httpx2.get(f"{url}/health").json() == {
            "status": "ready",
            "slots": 2,
            "free_slots": 2,
            "waiting": 0,
            "max_queue": 32,
            "flash_attention": llm.flash_attention,
            "kv_type": "f16",
            "threads": llm.threads,
            "context_length": llm.context_length,
        }
        assert post(url).status_code == 200
    failed: Future[LLM] = Future()
    failed.set_exception(ModelLoadFailed(tmp_path / "x.gguf", "it is not GGUF"))
    with serving(failed) as url:
        health = httpx2.get(f"{url}/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        assert "not GGUF" in health.json()["error"]
        assert "Retry-After" not in health.headers  # it will not go better
        assert post(url).json()["error"]["code"] == "model_failed"


def test_health_says_when_nothing_can_be_computed_for_a_while(llm: LLM) -> None:
    held = HeldLLM(llm)
    with serving(held.as_llm()) as url:
        held.interruption = WorkerLost("10.0.0.2:50052", "the connection broke", retry_after=7)
        health = httpx2.get(f"{url}/health")
        assert (health.status_code, health.headers["Retry-After"]) == (503, "7")
        assert health.json() == {
            "status": "interrupted",
            "error": "worker 10.0.0.2:50052: the connection broke",
        }
        assert figures(url)["mistral_small_edge_ready"] == 0
        held.interruption = None
        assert httpx2.get(f"{url}/health").json()["status"] == "ready"
        assert figures(url)["mistral_small_edge_ready"] == 1


def test_health_and_figures_tell_how_much_room_there_is(llm: LLM) -> None:
    held = HeldLLM(llm)
    rooms, held_lines = [], []  # held: a connection ends with them
    with serving(held.as_llm(), slots=2, config=ServerConfig(max_queue=1)) as url:
        with ExitStack() as answers:
            for _ in range(3):
                begun = httpx2.stream("POST", url + CHAT, json=ENDLESS, timeout=PATIENCE)
                held_lines.append(answers.enter_context(begun).iter_lines())
                next(held_lines[-1])
                health = httpx2.get(f"{url}/health").json()
                rooms.append((health["free_slots"], health["waiting"]))
            full = figures(url)
            assert httpx2.get(f"{url}/health").status_code == 200  # it is full, and well
        wait_until_idle(url)
    assert rooms == [(1, 0), (0, 0), (0, 1)]
    names = ("ready", "slots", "slots_free", "answers_running", "answers_waiting", "max_queue")
    assert [full[f"mistral_small_edge_{name}"] for name in names] == [1, 2, 0, 2, 1, 1]


def test_keys(llm: LLM) -> None:
    with serving(llm, config=ServerConfig(api_keys=("first", "sécond"))) as url:
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic first"}):
            refused = post(url, headers=header)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        assert httpx2.get(f"{url}/metrics").status_code == 401
        assert httpx2.get(f"{url}/health").status_code == 200
        assert post(url, headers={"Authorization": "Bearer first"}).status_code == 200
        second = {"Authorization": "bearer sécond".encode()}
        assert post(url, headers=second).status_code == 200


def test_web_pages_call_only_if_they_are_named(llm: LLM, url: str) -> None:
    page = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in post(url, headers=page).headers
    with serving(llm, config=ServerConfig(origins=("https://example.org",))) as open_to_it:
        allowed = post(open_to_it, headers=page)
        assert allowed.headers["access-control-allow-origin"] == "https://example.org"
        assert "access-control-allow-credentials" not in allowed.headers
        other = post(open_to_it, headers={"Origin": "https://example.com"})
        assert "access-control-allow-origin" not in other.headers


def test_unknown_fields_may_be_passed_over_and_are_named(llm: LLM) -> None:
    with serving(llm, config=ServerConfig(lenient=True)) as url:
        message = {"role": "user", "content": "x", "name": "me"}
        answer = post(url, body=HELLO | {"messages": [message], "best_of": 2})
    assert answer.status_code == 200
    assert answer.headers["X-Ignored-Fields"] == "best_of, messages.0.name"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"\xff\xfe{}", 400),
        (b"[" * 100_000, 400),
        (json.dumps(HELLO | {"messages": "x"}).encode(), 400),
        (json.dumps(HELLO | {"temperature": float("nan")}).encode(), 400),
        (json.dumps(HELLO | {"top_p": float("inf")}).encode(), 400),
        (json.dumps(HELLO | {"messages": [{"role": "user", "content": "\ud800"}]}).encode(), 400),
        (json.dumps(HELLO | {"stop": "\udfff"}).encode(), 400),
        (json.dumps(HELLO | {"seed": 10**40}).encode(), 400),
        (json.dumps(HELLO | {"max_tokens": 10**40}).encode(), 400),
        (json.dumps(HELLO | {"model": "\ud800"}).encode(), 404),
    ],
)
def test_what_arrives_broken_is_refused_in_openais_shape(
    url: str, body: bytes, status: int
) -> None:
    answer = httpx2.post(url + CHAT, content=body, headers=JSON, timeout=PATIENCE)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].keys() >= {"message", "type", "param", "code"}


def test_other_paths_methods_and_types_are_refused_in_openais_shape(url: str) -> None:
    answers = [
        httpx2.get(f"{url}/v1/nothing"),
        httpx2.get(url + CHAT),
        httpx2.post(url + CHAT, content=json.dumps(HELLO), headers={"Content-Type": "text/plain"}),
    ]
    assert [answer.status_code for answer in answers] == [404, 405, 400]
    assert all("message" in answer.json()["error"] for answer in answers)
    assert "application/json" in answers[2].json()["error"]["message"]


def test_a_body_is_bounded_in_size_whatever_it_says_of_itself(llm: LLM) -> None:
    with serving(llm, config=ServerConfig(max_body=10_000)) as url:
        large = HELLO | {"messages": [{"role": "user", "content": "x" * 20_000}]}
        assert post(url, body=large).status_code == 413
        pieces = (b"x" * 1000 for _ in range(100))  # chunked: no length is told
        answer = httpx2.post(url + CHAT, content=pieces, headers=JSON)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"
        assert post(url).status_code == 200


def test_a_body_that_does_not_arrive_ends_the_request(llm: LLM) -> None:
    with serving(llm, config=ServerConfig(body_timeout=0.2)) as url:
        host, port = url.removeprefix("http://").split(":")
        with closing(socket.create_connection((host, int(port)), PATIENCE)) as slow:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            slow.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            assert b" 408 " in slow.recv(4096)
        assert post(url).status_code == 200


def test_a_client_that_leaves_frees_its_slot(url: str) -> None:
    for stream in (True, False):
        with httpx2.Client(timeout=PATIENCE) as client:
            if stream:
                with client.stream("POST", url + CHAT, json=ENDLESS) as answer:
                    next(answer.iter_lines())
            else:
                with pytest.raises(httpx2.ReadTimeout):
                    client.post(url + CHAT, json=ENDLESS | {"stream": False}, timeout=0.2)
        wait_until_idle(url)
    assert post(url).status_code == 200


def test_more_than_may_wait_are_sent_away_with_a_time_to_come_back(llm: LLM) -> None:
    held = HeldLLM(llm)
    with serving(held.as_llm(), slots=1, config=ServerConfig(max_queue=0)) as url:
        with httpx2.stream("POST", url + CHAT, json=ENDLESS, timeout=PATIENCE) as answer:
            lines = answer.iter_lines()  # held: the connection ends with it
            next(lines)
            refused = post(url)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "engine_overloaded"
            assert int(refused.headers["Retry-After"]) > 0
        wait_until_idle(url)
        held.release()
        assert post(url).status_code == 200


def test_an_answer_may_take_no_longer_than_is_granted(llm: LLM) -> None:
    held = HeldLLM(llm)
    with serving(held.as_llm(), config=ServerConfig(request_timeout=0.05)) as url:
        for body in (HELLO, ENDLESS):  # a stream, too, of which nothing was sent
            late = post(url, body=body)
            assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
    with (
        serving(held.as_llm(), config=ServerConfig(request_timeout=0.2, heartbeat=0.01)) as url,
        httpx2.stream("POST", url + CHAT, json=ENDLESS, timeout=PATIENCE) as answer,
    ):
        assert answer.status_code == 200
        events = [line for line in answer.iter_lines() if line.startswith("data: ")]
        error, end = events
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "timeout"
        assert end == "data: [DONE]"


def test_a_stream_that_has_begun_may_take_no_longer_either(llm: LLM) -> None:
    with (
        serving(llm, config=ServerConfig(request_timeout=0.5)) as url,
        httpx2.stream("POST", url + CHAT, json=ENDLESS, timeout=PATIENCE) as answer,
    ):
        events = [line for line in answer.iter_lines() if line]
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["delta"]["role"]
    assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "timeout"
    assert events[-1] == "data: [DONE]"


def test_a_stream_shows_that_it_is_alive(llm: LLM) -> None:
    held = HeldLLM(llm)
    with (
        serving(held.as_llm(), config=ServerConfig(heartbeat=0.01)) as url,
        httpx2.stream("POST", url + CHAT, json=HELLO | {"stream": True}) as answer,
    ):
        lines = (line for line in answer.iter_lines() if line)
        assert [next(lines) for _ in range(3)] == [": reading"] * 3
        held.release()
        said = [line for line in lines if line != ": reading"]
        assert '"role": "assistant"' in said[0]
        assert said[-1] == "data: [DONE]"


def test_the_same_request_gives_the_same_bytes_under_load(url: str) -> None:
    seeded = HELLO | {"seed": 3, "temperature": 1.2, "max_tokens": 25}

    def text(body: dict[str, Any]) -> str:
        content: str = post(url, body=body).json()["choices"][0]["message"]["content"]
        return content

    alone = text(seeded)
    others = [
        HELLO | {"max_tokens": 30, "messages": [{"role": "user", "content": f"{n} " * n}]}
        for n in range(1, 20)
    ]
    with ThreadPoolExecutor(8) as pool:
        mixed = list(pool.map(text, [body for other in others for body in (other, seeded)]))
    assert mixed[1::2] == [alone] * len(others)


def test_sixty_four_clients_that_come_and_go(url: str) -> None:
    async def visit(client: Any, number: int) -> int:
        body = ENDLESS | {"max_tokens": 20 + number}
        async with client.stream("POST", url + CHAT, json=body) as answer:
            lines = 0
            async for _ in answer.aiter_lines():
                lines += 1
                if number % 3 == 0 and lines > number:
                    break  # and hang up
            status: int = answer.status_code
            return status

    async def all_of_them() -> list[int]:
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            return await asyncio.gather(*(visit(client, number) for number in range(64)))

    process, after = psutil.Process(), []
    for _ in range(4):
        statuses = asyncio.run(all_of_them())
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= 34
        wait_until_idle(url)
        after.append(process.memory_info().rss)
    assert post(url).status_code == 200
    assert after[-1] - after[0] < 20_000_000  # 192 requests later
    assert sum(thread.name.startswith("answer-") for thread in threading.enumerate()) == 0


def test_connections_that_say_nothing_keep_nobody_else_out(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with ExitStack() as held:
        for _ in range(100):
            slow = socket.create_connection((host, int(port)), PATIENCE)
            held.enter_context(closing(slow))
            slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert post(url).status_code == 200


def test_openais_client_reads_our_errors(llm: LLM) -> None:
    with (
        serving(llm, config=ServerConfig(api_keys=("a",))) as url,
        OpenAI(base_url=f"{url}/v1", api_key="b", max_retries=0) as client,
        pytest.raises(Exception, match="no API key, or one that is not known"),
    ):
        client.models.list()
