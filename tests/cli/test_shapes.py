"""Options that shape an answer: what they read, and what they say of what cannot be read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.chat.response_format import Choice, JsonSchema
from mistral_small_edge.chat.tools import NamedTool, Tool
from mistral_small_edge.cli import shapes
from mistral_small_edge.errors import InvalidRequest
from tests.cli.test_ask import ask

if TYPE_CHECKING:
    from pathlib import Path

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}


def written(path: Path, value: object) -> str:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


def test_shapes_are_read(tmp_path: Path) -> None:
    file = written(tmp_path / "schema.json", {"type": "integer"})
    assert shapes.response_format(file, None) == JsonSchema({"type": "integer"})
    assert shapes.response_format(None, "yes, no,maybe so") == Choice(("yes", "no", "maybe so"))
    assert shapes.response_format(None, None) is None


def test_tools_are_read(tmp_path: Path) -> None:
    bare = {"type": "function", "function": {"name": "stop", "description": None}}
    file = written(tmp_path / "tools.json", [WEATHER, bare])
    offered, choice = shapes.tools(file, "get_weather")
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    assert offered == (Tool("get_weather", "Weather.", parameters, strict=True), Tool("stop"))
    assert choice == NamedTool("get_weather")
    assert shapes.tools(file, "required")[1] == "required"
    assert shapes.tools(None, None) == ((), None)


@pytest.mark.parametrize(
    ("schema", "words"),
    [("{", "is not JSON"), ("3", "is an object"), ("[" * 100_000, "is not JSON"), ("", "not JSON")],
)
def test_what_is_no_schema_is_refused(tmp_path: Path, schema: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        shapes.response_format(written(tmp_path / "schema.json", schema), None)
    assert caught.value.param == "--schema"


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({}, "no list"),
        ([3], "tool 0 is not"),
        ([WEATHER, {"type": "function"}], "tool 1 has no object"),
        ([{**WEATHER, "cache": True}], "unknown field 'cache'"),
        ([{"type": "function", "function": {"name": 3}}], "name must be text"),
        ([{"type": "function", "function": {"name": "a b"}}], "a tool is named 'a b'"),
        ([{"type": "function", "function": {}}], "a tool is named ''"),
        (
            [{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}],
            "must be an object",
        ),
    ],
)
def test_what_is_no_tool_is_refused(tmp_path: Path, tools: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        shapes.tools(written(tmp_path / "tools.json", tools), None)
    assert caught.value.param.startswith("tools")


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "schema.json", True)
    for call in (
        lambda: shapes.response_format(file, "yes,no"),
        lambda: shapes.response_format(None, "yes,,no"),
        lambda: shapes.response_format(str(tmp_path / "none.json"), None),
        lambda: shapes.tools(None, "auto"),
        lambda: shapes.refuse_shared_stdin("-", "-", None),
    ):
        with pytest.raises(InvalidRequest):
            call()


@pytest.mark.model
def test_the_answer_is_one_of_the_choices() -> None:
    done = ask("Is Paris in France?", "--choice", "maybe,surely")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout in (b"maybe\n", b"surely\n")


@pytest.mark.model
def test_the_answer_fits_the_schema_that_is_piped_in() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
        "additionalProperties": False,
    }
    done = ask("Describe Paris.", "--schema", "-", stdin=json.dumps(schema).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    answer = json.loads(done.stdout)
    assert answer.keys() == {"city", "big"}
    assert isinstance(answer["big"], bool)


@pytest.mark.model
def test_a_schema_that_cannot_be_enforced_is_wrong_usage(tmp_path: Path) -> None:
    file = written(tmp_path / "schema.json", {"type": "array", "uniqueItems": True})
    done = ask("Count.", "--schema", file)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"uniqueItems" in done.stderr


@pytest.mark.model
def test_tools_need_a_model_that_has_them(tmp_path: Path) -> None:
    done = ask("Weather?", "--tools", written(tmp_path / "tools.json", [WEATHER]))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no tools" in done.stderr
