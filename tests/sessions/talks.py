"""Sessions to save: some as they come, and any that can be."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from mistral_small_edge.chat.conversation import Conversation, Exchange, Question
from mistral_small_edge.images import Image
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.sessions import Session

RED, BLUE = Image.of(b"\xff\0\0" * 28 * 28, 28, 28), Image.of(b"\0\1\xff" * 56 * 28, 56, 28)
PICTURES = {image.digest: image for image in (RED, BLUE)}

SAMPLING = SamplingParams(seed=3)
ASKED = Session("demo", SAMPLING, Conversation("Be brief."), Question("What is this?", (RED,)))
ANSWERED = replace(
    ASKED,
    conversation=Conversation(
        "Be brief.", (Exchange(Question("What is this?", (RED,)), "Something red.\n", 12),)
    ),
    unanswered=None,
)
ASKED_ANEW = replace(
    ANSWERED,
    conversation=Conversation(
        "Be brief.", (Exchange(Question("What is this?", (RED,)), "Straße \u2028 \0 \U0001f600"),)
    ),
)

texts = st.text(st.sampled_from('ab\n\r"\\\u2028\ud800é\0'), max_size=3)
questions = st.builds(
    Question, texts, st.lists(st.sampled_from([RED, BLUE]), max_size=2).map(tuple)
)
exchanges = st.builds(Exchange, questions, texts, st.none() | st.integers(0, 9))
sessions = st.builds(
    Session,
    st.sampled_from(["demo", "toy"]),
    st.builds(SamplingParams, seed=st.none() | st.integers(0, 2), stop=st.just(("a", "\n"))),
    st.builds(Conversation, texts, st.lists(exchanges, max_size=3).map(tuple)),
    st.none() | questions,
)
