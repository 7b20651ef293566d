"""A session for others to read."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from mistral_small_edge.chat.conversation import Question
from mistral_small_edge.images.decode import open_image
from mistral_small_edge.sessions import Session
from mistral_small_edge.sessions.export import exported
from tests.sessions.talks import ANSWERED, RED


def test_markdown_is_for_people() -> None:
    waiting = replace(ANSWERED, unanswered=Question("And?"))
    assert exported(waiting, "mine", "md").split("\n\n") == [
        "# mine",
        "Held with demo.",
        "**System**",
        "Be brief.",
        "**You**",
        "*(a picture, seen as 28x28 pixels)*",
        "What is this?",
        "**Assistant**",
        "Something red.",
        "**You**",
        "And?",
        "*(not answered)*\n",
    ]
    assert exported(Session(), "mine", "md") == "# mine\n"


def test_json_is_a_request_with_all_that_was_said() -> None:
    body = json.loads(exported(replace(ANSWERED, unanswered=Question("And?")), "mine", "json"))
    assert body["model"] == "demo"
    assert [said["role"] for said in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][2]["content"] == "Something red.\n"
    picture, text = body["messages"][1]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    head, _, payload = picture["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert open_image(base64.b64decode(payload), name="it", param="image").image == RED
