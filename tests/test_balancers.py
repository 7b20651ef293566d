"""Three replicas of the toy behind the proxies that Debian has, from the files in scripts/deploy."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.store.catalog import resolve
from scripts.behind import proxies
from scripts.behind.fates import Fate, fate_of
from scripts.beside.contenders import Setting, ours
from scripts.beside.servers import free_port, running
from tests.server.live import PATIENCE
from tests.server.test_behaviour import wait_until_idle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scripts.beside.servers import Server

COUNT, SLOTS, QUEUE = 3, 2, 4
LONG = 3900  # tokens: seconds, which nobody waits for
CHAT = "/v1/chat/completions"


class Replicas:
    """Servers on ports that they keep when they are started again."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held
        setting = Setting(model=resolve("toy").path, threads=1, context=4096, slots=SLOTS)
        self._contender = ours(setting, ("--max-queue", str(QUEUE), "--alias", "toy"), {})
        self.ports = [free_port() for _ in range(COUNT)]
        self._servers = {port: self._started(port) for port in self.ports}

    def signal(self, port: int, number: signal.Signals) -> None:
        """By process id."""
        os.kill(self._servers[port].pid, number)

    def start_again(self, port: int) -> None:
        """In place of one that has ended."""
        self._servers[port] = self._started(port)

    def _started(self, port: int) -> Server:
        return self._held.enter_context(running(self._contender, port=port))


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    with ExitStack() as held:
        yield Replicas(held)


@pytest.fixture(scope="module", params=sorted(proxies.FILES))
def proxy(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if proxies.program(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture(scope="module")
def port(proxy: str, replicas: Replicas) -> Iterator[int]:
    with proxies.proxy(proxy, replicas.ports) as port:
        yield port


def address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def body(text: str, tokens: int, **more: Any) -> dict[str, Any]:
    """A question whose answer has so many tokens."""
    return {
        "model": "toy",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
        "logit_bias": {"2": -100},
        **more,
    }


def ask(port: int, body: dict[str, Any], session: str | None = None) -> httpx2.Response:
    headers = {} if session is None else {"X-Session-Id": session}
    return httpx2.post(address(port) + CHAT, json=body, headers=headers, timeout=PATIENCE)


def figure(port: int, name: str) -> float:
    text = httpx2.get(f"{address(port)}/metrics", timeout=PATIENCE).text
    found = re.search(rf"^mistral_small_edge_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


def busy(ports: Sequence[int], answers: int = 1) -> int:
    """The first that computes so many; asks until there is one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for port in ports:
            if figure(port, "answers_running") >= answers:
                return port
    raise AssertionError("nobody computes that many")


@contextmanager
def streams(
    port: int, count: int = 1, tokens: int = LONG, session: str | None = None
) -> Iterator[list[Iterator[str]]]:
    """The lines of answers that have begun; whoever leaves gives them up."""
    headers = {} if session is None else {"X-Session-Id": session}
    with ExitStack() as held:
        found = []
        for number in range(count):
            asked = body(f"Stream {number}", tokens, stream=True)
            begun = httpx2.stream(
                "POST", address(port) + CHAT, json=asked, headers=headers, timeout=PATIENCE
            )
            lines = held.enter_context(begun).iter_lines()
            assert next(lines).startswith("data: ")
            found.append(lines)
        yield found


@contextmanager
def filled(port: int) -> Iterator[None]:
    """As many answers as there are slots are computed, and as many wait as may."""
    with ThreadPoolExecutor(QUEUE) as pool:
        with streams(port, SLOTS):
            waiting = [pool.submit(ask, port, body("Hello", 2)) for _ in range(QUEUE)]
            deadline = time.monotonic() + PATIENCE
            while figure(port, "answers_waiting") < QUEUE:
                assert time.monotonic() < deadline, "they do not wait"
            yield
        assert {one.result().status_code for one in waiting} == {200}


def test_its_program_has_nothing_to_say(proxy: str, tmp_path: Path) -> None:
    command = proxies.command(proxy, tmp_path, free_port(), [free_port() for _ in range(COUNT)])
    check = {"haproxy": "-c", "nginx": "-t"}[proxy]
    done = subprocess.run(
        [*command, check], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stdout + done.stderr


def test_a_conversation_finds_what_was_read_of_it(port: int, replicas: Replicas) -> None:
    few = SamplingParams(temperature=0, max_tokens=8)
    answers = 'responses_total{status="200"}'
    before = [figure(each, answers) for each in replicas.ports]
    with LLM.connect(address(port)) as remote:
        for number in range(8):
            messages = [Message("user", f"{number} at {port}: " + f"word{number} " * 30)]
            for _ in range(2):
                first = remote.answer(ChatRequest(tuple(messages), few))
                messages += [Message("assistant", first.text or "."), Message("user", "Go on.")]
                second = remote.answer(ChatRequest(tuple(messages), few))
                assert second.usage.cached_tokens > first.usage.prompt_tokens // 2
    more = [figure(each, answers) - old for each, old in zip(replicas.ports, before, strict=True)]
    assert sum(count > 0 for count in more) > 1  # and not all have found the same one


@pytest.mark.parametrize("proxy", ["haproxy"], indirect=True)  # nginx reads no JSON
def test_the_field_user_tells_conversations_apart_too(port: int) -> None:
    for number in range(4):
        asked = body(f"user {number}: " + f"name{number} " * 30, 4, user=f"somebody {number}")
        ask(port, asked)
        usage = ask(port, asked).json()["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] > usage["prompt_tokens"] // 2


def test_words_come_while_others_are_still_to_be_written(port: int, replicas: Replicas) -> None:
    with streams(port, tokens=400) as [lines]:
        next(line for line in lines if '"content"' in line)
        assert sum(figure(each, "answers_running") for each in replicas.ports) == 1
        assert [line for line in lines if line][-1] == "data: [DONE]"


def test_a_client_that_leaves_frees_its_slot(port: int, replicas: Replicas) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as client:
        asked = json.dumps(body("Never mind", LONG)).encode()
        client.request("POST", CHAT, asked, {"Content-Type": "application/json"})
        replica = busy(replicas.ports)
        answered = figure(replica, "decode_seconds_count")
    wait_until_idle(address(replica))
    assert figure(replica, "decode_seconds_count") == answered


def test_who_is_full_sends_on_to_the_next(port: int, replicas: Replicas) -> None:
    sessions = [f"session-{number}" for number in range(6)]
    with ExitStack() as held:
        held.enter_context(filled(replicas.ports[0]))
        assert ask(replicas.ports[0], body("Hello", 2)).status_code == 503
        assert {ask(port, body("Hello", 2), session).status_code for session in sessions} == {200}
        for each in replicas.ports[1:]:
            held.enter_context(filled(each))
        refused = ask(port, body("Hello", 2), sessions[0])
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "engine_overloaded"
        assert int(refused.headers["Retry-After"]) > 0
    for each in replicas.ports:
        wait_until_idle(address(each))


def test_a_replica_that_is_told_to_stop_takes_no_answer_with_it(
    port: int, replicas: Replicas
) -> None:
    with streams(port, tokens=2000, session="leaving") as [lines]:
        stopping = busy(replicas.ports)
        replicas.signal(stopping, signal.SIGTERM)
        fates = {fate_of(port, body("Hello", 2), "leaving") for _ in range(3)}
        last = [line for line in lines if line][-1]
    replicas.start_again(stopping)
    assert (fates, last) == ({"answered"}, "data: [DONE]")


def test_a_kill_takes_only_what_had_begun(port: int, replicas: Replicas) -> None:
    def fate(number: int) -> Fate:
        asked = body(f"Request {number}", 200, stream=number % 2 == 0)
        return fate_of(port, asked, f"killed-{number}")

    numbers = range(
        SLOTS + QUEUE
    )  # one replica could take them all: the proxy may miss another yet
    with ThreadPoolExecutor(len(numbers)) as pool:
        fates = pool.map(fate, numbers)
        killed = busy(replicas.ports, SLOTS)
        replicas.signal(killed, signal.SIGKILL)
        found = dict(zip(numbers, fates, strict=True))
    replicas.start_again(killed)
    assert {found[number] for number in numbers if number % 2} == {"answered"}
    # A stream that had begun cannot be begun again: its client is told that it is not whole.
    streamed = [found[number] for number in numbers if number % 2 == 0]
    assert set(streamed) <= {"answered", "broken off"}


def test_nobody_there_is_told_as_an_error_is(proxy: str) -> None:
    with proxies.proxy(proxy, [free_port() for _ in range(COUNT)]) as port:
        refused = ask(port, body("Hello", 2))
    assert refused.status_code == 503
    assert refused.json()["error"]["type"] == "server_error"
    assert int(refused.headers["Retry-After"]) > 0
