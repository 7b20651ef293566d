"""No secret, and nobody's name, in anything that is pasted into an issue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mistral_small_edge.cli.doctor import report_object, report_text
from mistral_small_edge.doctor import Fact, Finding, Report, Section
from mistral_small_edge.doctor.privacy import censor, environment

SECRET_NAMES = (
    "HF_TOKEN",
    "MISTRAL_SMALL_EDGE_API_KEY",
    "HTTPS_PROXY",
    "HF_HUB_SOMETHING_NEW",
    "MISTRAL_SMALL_EDGE_OF_TOMORROW",
)
HOME = Path("/home/ada")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+/="
# Beyond ASCII too, and with what would steer a terminal.
VALUES = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=60)


@given(st.sampled_from(SECRET_NAMES), VALUES, VALUES)
def test_a_section_does_not_depend_on_what_is_secret(name: str, one: str, other: str) -> None:
    assert environment({name: one}) == environment({name: other})


@given(st.text(LETTERS, min_size=8, max_size=80), st.sampled_from(SECRET_NAMES[:3]), VALUES)
def test_a_secret_is_nowhere_wherever_it_came_from(secret: str, name: str, around: str) -> None:
    assume(secret not in around)
    variables = {name: secret, "MISTRAL_SMALL_EDGE_MODEL": f"/models/{secret}/x.gguf"}
    text = f"{around}{secret}{around}"
    sections = (
        environment(variables),
        Section("x", (Fact(text, text),), (Finding("warning", text, text),)),
    )
    report = Report(sections).mapped(censor(variables, HOME, "ada"))
    assert secret not in report_text(report)
    assert secret not in json.dumps(report_object(report), ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ada/models/x.gguf", "~/models/x.gguf"),
        ("in /home/ada", "in ~"),
        ("'/home/ada': full", "'~': full"),
        ("/home/adam/x", "/home/adam/x"),
        ("/media/ada/disk", "/media/…/disk"),
        ("/data/adagio", "/data/adagio"),
        ("adagio by ada", "adagio by ada"),
        ("two\nlines\x1b[31m", "two lines [31m"),
    ],
)
def test_who_somebody_is_stays_here(text: str, shown: str) -> None:
    assert censor({}, HOME, "ada")(text) == shown


def test_nobody_at_home_is_no_reason_to_hide_everything() -> None:
    assert censor({}, Path("/"), "")("/models/x") == "/models/x"
    assert censor({}, None, "")("/models/x") == "/models/x"


def test_what_is_shown_of_the_environment() -> None:
    variables = {
        "PATH": "/bin",
        "HF_TOKEN": "x",
        "HF_HOME": "/hub",
        "HF_ENDPOINT": "https://me:secret@hub.example:8443/path?key=x",
        "https_proxy": "http://me:secret@proxy",
        "MISTRAL_SMALL_EDGE_MODEL": "toy",
        "MISTRAL_SMALL_EDGE_API_KEY": "",
        "OMP_NUM_THREADS": "4",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    assert {fact.name: fact.value for fact in environment(variables).facts} == {
        "HF_ENDPOINT": "https://hub.example:8443",
        "HF_HOME": "/hub",
        "HF_TOKEN": "set",
        "MISTRAL_SMALL_EDGE_API_KEY": "empty",
        "MISTRAL_SMALL_EDGE_MODEL": "toy",
        "OMP_NUM_THREADS": "4",
        "https_proxy": "set",
    }


@pytest.mark.parametrize("address", ["nonsense", "http://[::1", "http://x:port", ""])
def test_an_address_that_is_none_is_set(address: str) -> None:
    (fact,) = environment({"HF_ENDPOINT": address}).facts
    assert fact.value == "set"
