"""What a proxy knows a conversation by: the same while it grows, another for another beginning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.chat.messages import (
    ChatRequest,
    ImagePart,
    Message,
    Role,
    TextPart,
    TextRequest,
)
from mistral_small_edge.errors import ServerFailed
from mistral_small_edge.images import Image
from mistral_small_edge.llm import RemoteLLM
from mistral_small_edge.llm.remote.connection import Connection
from mistral_small_edge.llm.remote.remote_llm import Served
from mistral_small_edge.llm.remote.session_id import session_id
from mistral_small_edge.sampling_params import SamplingParams
from tests.fake_chat_server import Ways, fake_chat_server

BLACK, WHITE = (Image.of(bytes([shade]) * 2352, 28, 28) for shade in (0, 255))
SYSTEM = Message("system", "Be brief.")
HELLO = Message("user", "Hello")
LATER: st.SearchStrategy[Role] = st.sampled_from(["user", "assistant", "system"])


def of(*messages: Message) -> str:
    return session_id(ChatRequest(messages))


@given(st.text(), st.text(), st.lists(st.builds(Message, LATER, st.text())))
def test_it_stays_while_the_conversation_grows(told: str, asked: str, more: list[Message]) -> None:
    beginning = (Message("system", told), Message("user", asked))
    assert of(*beginning, *more) == of(*beginning)


BEGINNINGS = (
    (SYSTEM,),
    (HELLO,),
    (SYSTEM, HELLO),
    (Message("user", "Be brief."), HELLO),
    (Message("user", "Hello!"),),
    (Message("user", (TextPart("Hel"), TextPart("lo"))),),
    (Message("user", (ImagePart(BLACK),)),),
    (Message("user", (ImagePart(WHITE),)),),
    (Message("user", (ImagePart(BLACK), TextPart("Hello"))),),
    (Message("user", (TextPart(BLACK.digest),)),),
)


def test_another_beginning_is_another_conversation() -> None:
    assert len({of(*beginning) for beginning in BEGINNINGS}) == len(BEGINNINGS)


def test_it_is_a_header_whatever_was_said() -> None:
    found = of(Message("user", "\r\nX: \N{SNOWMAN}\0"))
    assert len(found) == 16
    assert int(found, 16) >= 0
    # As it has always been: a conversation must find its replica from any version of the program.
    assert of(HELLO) == "2230da7da8c97b94"


def test_a_conversation_brings_it_and_a_text_has_none() -> None:
    asked = ChatRequest((SYSTEM, HELLO)), TextRequest("Once upon a time")
    served = Served(("words",), 1024, 1, False, "fp_0", SamplingParams())
    with (
        fake_chat_server(ways := Ways(status=500)) as port,
        RemoteLLM(Connection(f"http://127.0.0.1:{port}"), served) as remote,
    ):
        for request in asked:
            with pytest.raises(ServerFailed, match="not today"):
                remote.stream(request)
    assert ways.sessions == [of(SYSTEM, HELLO), None]
