"""A model behind a real server answers, refuses and stops as the same model here."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.chat.deltas import ChatResponse, Finish, Progress, TextDelta, collect
from mistral_small_edge.chat.messages import ChatRequest, ImagePart, Message, TextRequest
from mistral_small_edge.chat.response_format import Choice, JsonSchema, Regex
from mistral_small_edge.chat.tools import Tool
from mistral_small_edge.config import ServerConfig
from mistral_small_edge.errors import (
    ContextLengthExceeded,
    EdgeError,
    EngineLoading,
    EngineOverloaded,
    EngineStopped,
    InvalidGrammar,
    InvalidRequest,
    ModelError,
    ModelLoadFailed,
    ModelNotFound,
    NoProjector,
    ServerError,
    ServerLocked,
    ServerUnreachable,
)
from mistral_small_edge.images import Image
from mistral_small_edge.llm import LLM, RemoteLLM
from mistral_small_edge.llm.remote.connection import Connection
from mistral_small_edge.llm.remote.remote_llm import Served
from mistral_small_edge.sampling_params import SamplingParams
from tests.fake_chat_server import Ways, fake_chat_server
from tests.llm.remote.conftest import SLOTS
from tests.server.held_llm import HeldLLM
from tests.server.live import PATIENCE, serving
from tests.server.test_behaviour import wait_until_idle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEEDED = SamplingParams(temperature=1, seed=11, max_tokens=12)
ENDLESS = SamplingParams(temperature=0, logit_bias={2: -100})  # never says that it is done
ADD = Tool(
    "add",
    "Adds.",
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
)


def hello(sampling: SamplingParams = SEEDED) -> ChatRequest:
    return ChatRequest((Message("system", "Kurz."), Message("user", "Grüß dich")), sampling)


def essence(response: ChatResponse) -> ChatResponse:
    """What must not depend on where it is computed, nor on what was computed before."""
    usage = replace(response.usage, cached_tokens=0, drafted_tokens=0, accepted_tokens=0)
    return replace(response, usage=usage, timings=None)  # type: ignore[arg-type]


def test_it_is_told_what_is_served(remote: RemoteLLM, local: LLM, url: str) -> None:
    assert remote.url == url
    assert remote.names == local.names
    assert remote.name == local.names[0]
    assert remote.context_length == local.context_length
    assert remote.max_sequences == local.max_sequences
    assert remote.default_sampling == local.default_sampling
    assert remote.sees == local.sees
    assert remote.fingerprint == local.fingerprint


@pytest.mark.parametrize(
    "request_",
    [
        hello(),
        hello(replace(SEEDED, top_logprobs=2)),
        hello(replace(SEEDED, stop=("e",), logit_bias={1100: 3.0}, repeat_penalty=1.3)),
        replace(hello(), response_format=Choice(("yes", "no"))),
        replace(hello(), response_format=JsonSchema({"type": "array", "maxItems": 2})),
        replace(hello(), tools=(ADD,), tool_choice="required"),
        ChatRequest((Message("user", "Hi"), Message("assistant", "I say")), SEEDED),
        TextRequest("Once upon a time", SEEDED),
        TextRequest((1, 1100, 1200), SEEDED),
    ],
)
def test_the_same_seed_gives_the_same_answer(
    remote: RemoteLLM, local: LLM, request_: ChatRequest | TextRequest
) -> None:
    assert essence(remote.answer(request_)) == essence(local.answer(request_))


def test_a_stream_tells_of_the_reading_and_ends_once(remote: RemoteLLM) -> None:
    with remote.stream(ChatRequest((Message("user", "word " * 200),), SEEDED)) as stream:
        deltas = list(stream)
        assert stream.ended
        assert list(stream) == []
    kinds = [type(delta) for delta in deltas]
    assert kinds[0] is Progress
    assert kinds.count(Finish) == 1
    assert kinds[-1] is Finish
    assert collect(deltas).usage.prompt_tokens > 200


REFUSED: list[tuple[ChatRequest, type[EdgeError]]] = [
    (replace(hello(), response_format=Regex("(")), InvalidGrammar),
    (ChatRequest((Message("user", "word " * 3000),)), ContextLengthExceeded),
    (ChatRequest((Message("tool", "4", tool_call_id="x"),)), InvalidRequest),
    (
        ChatRequest((Message("user", (ImagePart(Image.of(bytes(2352), 28, 28)),)),)),
        NoProjector,
    ),
]


@pytest.mark.parametrize(("request_", "kind"), REFUSED)
def test_it_refuses_as_here(
    remote: RemoteLLM, local: LLM, request_: ChatRequest, kind: type[EdgeError]
) -> None:
    with pytest.raises(kind) as there:
        remote.stream(request_)
    with pytest.raises(kind) as here:
        local.stream(request_)
    assert type(there.value) is type(here.value)
    assert str(there.value) == str(here.value)


def add(a: int) -> str:
    return str(a)


def test_what_is_made_of_answers_is_made_of_these_too(remote: RemoteLLM, local: LLM) -> None:
    sampling = replace(SEEDED, max_tokens=200)
    assert isinstance(remote.chat("A colour?", response_format=bool, sampling=sampling), bool)
    assert remote.chat("Hi", sampling=SEEDED).text == local.chat("Hi", sampling=SEEDED).text
    called = [
        llm.chat("Hi", tools=[add], tool_choice="required", run_tools=True, sampling=sampling)
        for llm in (remote, local)
    ]
    assert called[0].earlier == called[1].earlier != ()
    questions = [f"Question {number}" for number in range(9)]
    with (
        remote.map(questions, sampling=SEEDED) as there,
        local.map(questions, sampling=SEEDED) as here,
    ):
        assert [one.text for one in there] == [one.text for one in here]


def test_closing_a_stream_ends_the_answer_there(local: LLM) -> None:
    with serving(local) as url, LLM.connect(url) as remote:
        stream = remote.stream(hello(ENDLESS))
        assert any(isinstance(delta, TextDelta) for delta in stream)
        stream.close()
        stream.close()
        assert not any(isinstance(delta, Finish) for delta in stream)
        wait_until_idle(url)
        assert remote.chat("Hi", sampling=SEEDED).finish_reason == "length"


def test_closing_it_ends_what_others_wait_for(local: LLM) -> None:
    held = HeldLLM(local)
    with serving(held.as_llm()) as url:
        remote = LLM.connect(url)
        stream = remote.stream(hello())
        closing = threading.Timer(0, remote.close)
        closing.start()
        with pytest.raises(EngineStopped):
            list(stream)
        closing.join()
        with pytest.raises(EngineStopped):
            remote.stream(hello())
        remote.close()
        wait_until_idle(url)


def test_a_stream_that_nobody_holds_is_given_up(local: LLM) -> None:
    held = HeldLLM(local)
    with serving(held.as_llm()) as url, LLM.connect(url) as remote:
        remote.stream(hello())
        wait_until_idle(url)


def test_who_comes_too_late_is_told_when_to_come_back(local: LLM) -> None:
    held = HeldLLM(local)
    config = ServerConfig(max_queue=0)
    with serving(held.as_llm(), 1, config) as url, LLM.connect(url) as remote:
        with remote.stream(hello()), pytest.raises(EngineOverloaded) as refused:
            remote.stream(hello())
        assert refused.value.retry_after > 0


def test_a_server_that_has_no_model_yet_or_never_says_so(local: LLM, tmp_path: Path) -> None:
    loading: Future[LLM] = Future()
    with serving(loading) as url:
        with pytest.raises(EngineLoading):
            LLM.connect(url)
        loading.set_exception(ModelLoadFailed(tmp_path / "x.gguf", "it is not GGUF"))
        with pytest.raises(ModelError, match="not GGUF"):
            LLM.connect(url)


def test_another_model_by_now_is_told(local: LLM) -> None:
    with serving(local, config=ServerConfig(aliases=("mine",))) as url, LLM.connect(url) as remote:
        late = RemoteLLM(Connection(url), Served(("gone",), 1024, SLOTS, False, "fp_0", SEEDED))
        with late, pytest.raises(ModelNotFound, match="gone") as told:
            late.stream(hello())
        assert "mine" in told.value.known
        assert "mine" in remote.names


def test_keys(local: LLM) -> None:
    with serving(local, config=ServerConfig(api_keys=("sécond",))) as url:
        for wrong in (None, "first"):
            with pytest.raises(ServerLocked):
                LLM.connect(url, api_key=wrong)
        with LLM.connect(url, api_key="sécond") as remote:
            assert remote.chat("Hi", sampling=SEEDED).text
    for impossible in ("", " ", "a\nb"):
        with pytest.raises(InvalidRequest, match="API key"):
            LLM.connect(url, api_key=impossible)


def test_where_no_server_of_ours_is(url: str) -> None:
    with pytest.raises(ServerUnreachable, match="nobody answers"):
        LLM.connect("http://127.0.0.1:9")
    with fake_chat_server(Ways()) as port, pytest.raises(ServerUnreachable, match="no server of"):
        LLM.connect(f"http://127.0.0.1:{port}")
    with pytest.raises(ServerError, match="Not Found"):
        LLM.connect(f"{url}/docs")


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_the_address_may_be_that_of_openais_clients(url: str, tail: str) -> None:
    with LLM.connect(url + tail) as remote:
        assert remote.url == url


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "http://",
        "http://a:b@c",
        "http://[::1",
        "http://a/?q",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match="no address") as refused:
        LLM.connect(address)
    assert refused.value.param == "url"


def test_many_threads_ask_at_once(remote: RemoteLLM, local: LLM) -> None:
    wanted = local.answer(hello()).text
    found: list[str] = []
    ask: Callable[[], None] = lambda: found.append(remote.answer(hello()).text)  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [wanted] * 6
