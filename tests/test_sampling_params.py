"""Every field is checked at construction, and the error names it."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from mistral_small_edge.config import EngineConfig, ServerConfig
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sampling_params import SamplingParams

BAD: list[tuple[str, Any]] = [
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", math.nan),
    ("top_p", 0.0),
    ("top_p", 1.01),
    ("top_k", -1),
    ("min_p", 1.5),
    ("frequency_penalty", 2.5),
    ("presence_penalty", -2.5),
    ("repeat_penalty", 0.0),
    ("repeat_penalty", math.inf),
    ("logit_bias", {1: 101.0}),
    ("seed", 2**64),
    ("seed", 10**400),
    ("stop", ("a", "b", "c", "d", "e")),
    ("stop", ("",)),
    ("max_tokens", 0),
    ("top_logprobs", 21),
    ("prompt_logprobs", 21),
    ("stop", ("\ud800",)),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name


def test_every_field_with_a_range_is_in_the_table() -> None:
    assert {field.name for field in fields(SamplingParams)} - {name for name, _ in BAD} == {
        "ignore_eos"
    }


@pytest.mark.parametrize(
    ("params", "repeatable"),
    [
        (SamplingParams(), False),
        (SamplingParams(temperature=0), True),
        (SamplingParams(seed=0), True),
    ],
)
def test_repeatable(params: SamplingParams, repeatable: bool) -> None:
    assert params.repeatable is repeatable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context_length", 63),
        ("max_sequences", 0),
        ("prefill_chunk", 0),
        ("threads", 0),
        ("gpu_layers", -1),
        ("kv_type", "f32"),
        ("flash_attention", "yes"),
        ("at_once", 0),
        ("at_once", 2),  # of one sequence
        ("prefill_seconds", 0.0),
        ("prefill_seconds", math.nan),
    ],
)
def test_engine_config_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        EngineConfig(**{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65_536),
        ("port", -1),
        ("max_queue", -1),
        ("request_timeout", 0.0),
        ("request_timeout", math.nan),
        ("api_key", ("",)),
    ],
)
def test_server_config_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ServerConfig(**{"api_keys" if name == "api_key" else name: value})
    assert caught.value.param == name
