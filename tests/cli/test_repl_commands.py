"""Slash commands as tables: state and line in, state and words out. No screen, no model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mistral_small_edge.chat.conversation import Conversation, Exchange, Question
from mistral_small_edge.chat.messages import Message
from mistral_small_edge.cli import repl_commands, repl_settings
from mistral_small_edge.cli.repl_commands import Outcome, State
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sampling_params import SamplingParams

DEFAULTS = SamplingParams(temperature=0.15, top_p=0.9)
TALK = Conversation(
    "Be brief.", (Exchange(Question("one?"), "1", 10), Exchange(Question("two?"), "2", 20))
)
EMPTY = State(
    model="scripted",
    context_length=8192,
    defaults=DEFAULTS,
    sampling=DEFAULTS,
    conversation=Conversation(),
)
TALKING = replace(EMPTY, conversation=TALK)


def test_a_conversation_always_alternates() -> None:
    assert TALK.messages(Question("three?")) == (
        Message("system", "Be brief."),
        Message("user", "one?"),
        Message("assistant", "1"),
        Message("user", "two?"),
        Message("assistant", "2"),
        Message("user", "three?"),
    )
    assert Conversation().messages(Question("one?")) == (Message("user", "one?"),)


def test_a_conversation_knows_how_much_context_it_takes() -> None:
    assert Conversation().tokens == 0
    assert TALK.tokens == 20
    assert TALK.shortened().tokens == 10
    assert TALK.extended(Exchange(Question("three?"), "stopp")).tokens is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/clear", Conversation("Be brief.")),
        ("/undo", Conversation("Be brief.", TALK.exchanges[:1])),
        ("/retry", TALK),
        ("/system Be long.\nVery.", Conversation("Be long.\nVery.", TALK.exchanges)),
        ("/system\nBe long.", Conversation("Be long.", TALK.exchanges)),
        ("/system none", Conversation("", TALK.exchanges)),
        ("/system", TALK),
        ("/show", TALK),
        ("/help", TALK),
        ("/exit", TALK),
    ],
)
def test_commands_change_the_conversation(line: str, expected: Conversation) -> None:
    assert repl_commands.run(TALKING, line).state == replace(TALKING, conversation=expected)


def test_only_exit_leaves_and_only_retry_asks() -> None:
    needed = {"/load": "mine", "/export": "md"}
    outcomes = {
        name: repl_commands.run(TALKING, f"{name} {needed.get(name, '')}")
        for name in repl_commands.COMMANDS
    }
    assert [name for name, outcome in outcomes.items() if outcome.leave] == ["/exit"]
    assert [name for name, outcome in outcomes.items() if outcome.retry] == ["/retry"]
    wishes = [name for name, outcome in outcomes.items() if outcome.wish]
    assert wishes == ["/save", "/load", "/sessions", "/export"]
    silent = [name for name, outcome in outcomes.items() if not outcome.said]
    assert silent == ["/exit", "/retry", *wishes]


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (DEFAULTS, ""),
        (replace(DEFAULTS, seed=7), "With seed 7 the same conversation gets the same answer"),
        (replace(DEFAULTS, temperature=0.0, seed=7), "With temperature 0.0 the same conversation"),
    ],
)
def test_retry_says_when_the_answer_will_be_the_same(sampling: SamplingParams, said: str) -> None:
    outcome = repl_commands.run(replace(TALKING, sampling=sampling), "/retry")
    assert outcome.said.startswith(said)
    assert bool(outcome.said) == bool(said)


def test_stats_toggles() -> None:
    on = repl_commands.run(EMPTY, "/stats")
    off = repl_commands.run(on.state, "/stats")
    assert (on.state.stats, on.said) == (True, "Statistics after each answer: on.")
    assert (off.state.stats, off.said) == (False, "Statistics after each answer: off.")


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("temperature 0.7", "temperature", 0.7),
        ("temperature   1", "temperature", 1.0),
        ("top_p .5", "top_p", 0.5),
        ("top_k 40", "top_k", 40),
        ("min_p 0.05", "min_p", 0.05),
        ("frequency_penalty -1", "frequency_penalty", -1.0),
        ("presence_penalty 2", "presence_penalty", 2.0),
        ("repeat_penalty 1.1", "repeat_penalty", 1.1),
        ("seed -3", "seed", -3),
        ("max_tokens 12", "max_tokens", 12),
        ("stop The end", "stop", ("The end",)),
        ('stop "\\n"', "stop", ("\n",)),
        ('stop ["\\n\\n", "END"]', "stop", ("\n\n", "END")),
    ],
)
def test_set_takes_a_value_and_none_takes_it_back(argument: str, name: str, value: Any) -> None:
    outcome = repl_commands.run(EMPTY, f"/set {argument}")
    assert outcome.state.sampling == replace(DEFAULTS, **{name: value})
    written = repl_settings.shown(outcome.state.sampling, name)
    assert outcome.said == f"{name} is {written} from the next answer on."
    assert repl_commands.run(EMPTY, f"/set {name} {written}").state == outcome.state
    assert repl_commands.run(outcome.state, f"/set {name} none").state == EMPTY


def test_set_covers_what_people_change() -> None:
    fields: dict[str, Any] = SamplingParams.__dataclass_fields__
    assert set(fields) - set(repl_settings.SETTINGS) == {
        "logit_bias",
        "top_logprobs",
        "ignore_eos",
        "prompt_logprobs",
    }
    said = repl_commands.run(EMPTY, "/set").said
    assert [line.split()[0] for line in said.splitlines()] == list(repl_settings.SETTINGS)


def test_set_with_a_name_shows_it() -> None:
    assert repl_commands.run(EMPTY, "/set top_p") == Outcome(
        EMPTY, "top_p 0.9  (above 0, to 1; the likeliest tokens that add up to it)"
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/sing", "no command '/sing'; there are: /help /exit"),
        ("/", "no command '/'; there are: /help /exit"),
        ("/ help", "no command '/'; there are: /help /exit"),
        ("/etc/hosts is odd\nindeed", "no command '/etc/hosts'; there are:"),
        ("/a\x1b[2J", r"no command '/a\x1b[2J'; there are:"),
        ("/clear all", "/clear takes no arguments"),
        ("/set warmth 3", "no setting 'warmth'; there are: temperature, top_p"),
        ("/set warmth", "no setting 'warmth'; there are: temperature, top_p"),
        ("/set logit_bias 3", "no setting 'logit_bias'; there are: temperature"),
        ("/set temperature hot", "temperature is 'hot'; it must be a number, or none"),
        ("/set temperature nan", "temperature is nan; it must lie between 0 and 2"),
        ("/set top_k 1.5", "top_k is '1.5'; it must be a whole number, or none"),
        ("/set top_p 0", "top_p is 0"),
        ("/set max_tokens 0", "max_tokens is 0; it must lie between 1 and"),
        ("/set seed 1" + "0" * 5000, "seed is '1000"),
        ("/set stop " + "[" * 100_000, "stop is '[[["),
        ("/set stop [1]", "stop is '[1]'; it must be text"),
        ('/set stop "open', "stop is '\"open'; it must be text"),
        ('/set stop ""', "stop holds an empty string"),
        ('/set stop ["a","b","c","d","e"]', "stop has 5 strings"),
    ],
)
def test_a_mistake_says_what_would_do(line: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        repl_commands.run(TALKING, line)
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("line", ["/retry", "/undo"])
def test_what_needs_an_exchange_says_so(line: str) -> None:
    with pytest.raises(InvalidRequest, match="the conversation is empty"):
        repl_commands.run(EMPTY, line)


def test_show_names_model_context_system_prompt_and_settings() -> None:
    said = repl_commands.run(TALKING, "/show").said
    assert "scripted" in said
    assert "20 of 8192 tokens" in said
    assert "Be brief." in said
    assert "temperature        0.15" in said
    stopped = replace(EMPTY, conversation=TALK.extended(Exchange(Question("three?"), "stopp")))
    assert (
        "not counted, for the last answer was stopped" in repl_commands.run(stopped, "/show").said
    )


def test_help_names_every_command() -> None:
    said = repl_commands.run(EMPTY, "/help").said
    assert [name for name in repl_commands.COMMANDS if f"{name} " not in said] == []


@pytest.mark.parametrize(
    ("line", "command", "message"),
    [
        ("/help", True, "/help"),
        ("//help", False, "/help"),
        ("///", False, "//"),
        ("a / b", False, "a / b"),
    ],
)
def test_a_slash_is_a_command_two_are_a_slash(line: str, command: bool, message: str) -> None:
    assert repl_commands.is_command(line) is command
    assert command or repl_commands.unescaped(line) == message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("he", []),
        ("/s", ["/save", "/sessions", "/system", "/set", "/show", "/stats"]),
        ("/und", ["/undo"]),
        ("/set t", ["temperature", "top_p", "top_k"]),
        ("/set ", list(repl_settings.SETTINGS)),
        ("/set temperature ", []),
        ("/load m", ["mine", "my.other"]),
        ("/load mine ", []),
        ("/export ", ["md", "json"]),
        ("/export j", ["json"]),
        ("/system t", []),
        ("say /s", []),
        (" /s", []),
    ],
)
def test_completions(line: str, words: list[str]) -> None:
    assert repl_commands.completions(line, lambda: ["mine", "my.other", "yours"]) == words
