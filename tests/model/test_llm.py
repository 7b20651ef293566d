"""A real model behind the one generation path."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.chat.deltas import ChatResponse, Finish, Progress, TextDelta, collect
from mistral_small_edge.chat.messages import ChatRequest, Message
from mistral_small_edge.errors import ContextLengthExceeded, EngineStopped, InvalidRequest
from mistral_small_edge.llm import LLM
from mistral_small_edge.sampling_params import SamplingParams
from tests.model.config import engine_config

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.config import EngineConfig

pytestmark = pytest.mark.model

PATIENCE = 240  # seconds until a test gives a thread up
GREEDY = SamplingParams(temperature=0, max_tokens=24)
QUESTIONS = [
    "Name three colours.",
    "What is the capital of France? Answer in one word.",
    "Write a sentence about the sea.",
    "How many legs has a spider?",
    "Say hello in Spanish.",
    "What do bees make? " + "Think of flowers, hives and honey before you answer. " * 20,
]


def request(text: str, sampling: SamplingParams = GREEDY) -> ChatRequest:
    return ChatRequest((Message("user", text),), sampling)


def ask(llm: LLM, text: str, sampling: SamplingParams = GREEDY) -> ChatResponse:
    return llm.chat(text, sampling=sampling)


def test_it_answers_as_a_model_does(llm: LLM) -> None:
    assert "Paris" in ask(llm, "What is the capital of France? Answer in one word.").text


def test_a_stream_is_progress_then_text_then_one_end(llm: LLM) -> None:
    deltas = list(llm.stream(request("Tell me about the moon.")))
    kinds = [type(delta) for delta in deltas]
    first_text = kinds.index(TextDelta)
    assert set(kinds[:first_text]) == {Progress}
    assert set(kinds[first_text:-1]) == {TextDelta}
    assert kinds[-1] is Finish
    last = [delta for delta in deltas if isinstance(delta, Progress)][-1]
    assert last.processed == last.total


@pytest.mark.parametrize(
    "sampling", [GREEDY, SamplingParams(temperature=1, seed=7, max_tokens=24)], ids=str
)
def test_the_same_output_alone_and_among_others(llm: LLM, sampling: SamplingParams) -> None:
    alone = {text: ask(llm, text, sampling).text for text in QUESTIONS}
    jobs = random.Random(1).sample(QUESTIONS * 4, 24)
    with ThreadPoolExecutor(12) as pool:
        noise = pool.map(
            lambda text: ask(llm, text, SamplingParams(temperature=1, max_tokens=16)), QUESTIONS
        )
        among = list(pool.map(lambda text: ask(llm, text, sampling).text, jobs, timeout=PATIENCE))
        assert all(response.text for response in noise)
    assert among == [alone[text] for text in jobs]


def test_different_seeds_differ_and_a_seed_repeats(llm: LLM) -> None:
    texts = [
        ask(
            llm,
            "Invent a name for a boat.",
            SamplingParams(temperature=1.5, seed=seed, max_tokens=24),
        ).text
        for seed in (1, 2, 1, 2**32 - 1, 2**32 - 1)
    ]
    assert texts[0] == texts[2]
    assert texts[3] == texts[4]
    assert len(set(texts)) == 3


def test_two_hundred_requests_through_four_slots(llm: LLM) -> None:
    sampling = replace(GREEDY, max_tokens=4)
    texts = [f"{QUESTIONS[n % 5]} ({n % 20})" for n in range(200)]
    expected = {text: ask(llm, text, sampling).text for text in set(texts)}
    with ThreadPoolExecutor(32) as pool:
        answers = list(
            pool.map(lambda text: ask(llm, text, sampling).text, texts, timeout=PATIENCE)
        )
    assert answers == [expected[text] for text in texts]


def test_a_second_turn_reuses_the_first(llm: LLM) -> None:
    sampling = SamplingParams(temperature=0.2, max_tokens=16)
    turns = [Message("user", "Tell me about rivers. " + "They are long. " * 30)]
    first = llm.chat(turns, sampling=sampling)
    turns += [Message("assistant", first.text), Message("user", "And lakes?")]
    second = llm.chat(turns, sampling=sampling)
    # All of the first prompt but what follows the seam between prompt and answer.
    assert second.usage.cached_tokens >= first.usage.prompt_tokens - 8


def test_questions_about_one_document_read_it_once_and_get_the_same_bits(llm: LLM) -> None:
    document = "The harbour master writes the arrival of every ship into a large book. " * 20
    sampling = replace(GREEDY, max_tokens=8, top_logprobs=2)
    texts = [document + question for question in ("Who writes?", "Why?", "What?", "Where?")]
    with LLM.load("demo", engine_config(context_length=1024, threads=1)) as alone:
        expected = [ask(alone, text, sampling).logprobs for text in texts]
    ask(llm, "Something else.", sampling)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: ask(llm, text, sampling), texts, timeout=PATIENCE))
    assert [response.logprobs for response in together] == expected
    read = sum(one.usage.prompt_tokens - one.usage.cached_tokens for one in together)
    assert read < 1.5 * together[0].usage.prompt_tokens


def test_a_restart_reads_nothing_again_and_gives_the_same_bits(tmp_path: Path) -> None:
    document = "The harbour master writes the arrival of every ship into a large book. " * 20
    sampling = replace(GREEDY, max_tokens=8, top_logprobs=2)
    config = engine_config(context_length=1024, threads=1, prompt_cache=tmp_path / "prompts")
    answers = []
    for question in ("Who writes?", "Who writes?", "Why?"):
        with LLM.load("demo", config) as restarted:
            answers.append(ask(restarted, document + question, sampling))
    with LLM.load("demo", replace(config, prompt_cache=None)) as fresh:
        expected = ask(fresh, document + "Why?", sampling)
    cold, same, other = answers
    assert cold.logprobs == same.logprobs
    assert other.logprobs == expected.logprobs
    assert (cold.usage.cached_tokens, same.usage.cached_tokens) == (0, cold.usage.prompt_tokens - 1)
    assert other.usage.cached_tokens > cold.usage.prompt_tokens - 20


def test_conversations_that_share_a_slot_are_read_once_and_get_the_same_bits() -> None:
    document = "harbour master writes the arrival of every ship into a large book. " * 20
    texts = [f"{first} {document}" for first in ("The", "Our")]
    sampling = replace(GREEDY, max_tokens=8, top_logprobs=2)
    config = engine_config(context_length=1024, threads=1)
    with LLM.load("demo", config) as llm:
        cold, warm = ([ask(llm, text, sampling) for text in texts] for _ in range(2))
        for before, after in zip(cold, warm, strict=True):
            assert before.usage.cached_tokens < 50
            assert after.usage.cached_tokens == after.usage.prompt_tokens
            assert after.logprobs == before.logprobs
    with LLM.load("demo", replace(config, prompt_memory=0)) as llm:
        forgotten = [ask(llm, text, sampling) for text in (*texts, *texts)]
    assert all(one.usage.cached_tokens < 50 for one in forgotten)


def test_stop_strings_never_leak_and_cross_token_borders(llm: LLM) -> None:
    sampling = replace(GREEDY, max_tokens=40)
    full = ask(llm, "Count from one to ten in words.", sampling).text
    middle = len(full) // 2
    stop = full[middle : middle + 7]
    cut = ask(llm, "Count from one to ten in words.", replace(sampling, stop=(stop, "zebra")))
    assert cut.text == full[: full.index(stop)]
    assert cut.finish_reason == "stop"
    streamed = "".join(
        delta.text
        for delta in llm.stream(
            request("Count from one to ten in words.", replace(sampling, stop=(stop,)))
        )
        if isinstance(delta, TextDelta)
    )
    assert streamed == cut.text


def test_a_prompt_over_the_context_is_refused_with_both_numbers(llm: LLM) -> None:
    long = request("word " * 5000)
    with pytest.raises(ContextLengthExceeded) as caught:
        llm.stream(long)
    assert caught.value.prompt_tokens == len(llm.prompt_tokens(long)) > 5000
    assert caught.value.limit == 2048


def test_an_answer_that_fills_the_context_ends_by_length(llm: LLM) -> None:
    long = request("word " * 1990, SamplingParams(temperature=0, ignore_eos=True))
    response = collect(llm.stream(long))
    assert response.finish_reason == "length"
    assert response.usage.prompt_tokens + response.usage.completion_tokens == 2048


def test_closing_during_prefill_frees_the_slot_within_a_chunk(llm: LLM) -> None:
    long = request("The cat sat on the mat. " * 250)
    streams = [llm.stream(long) for _ in range(8)]  # twice as many as there are slots
    for stream in streams:
        stream.close()
    answer = collect(llm.stream(request("Say yes.", replace(GREEDY, max_tokens=2))))
    assert answer.usage.completion_tokens <= 2
    again = llm.stream(long)
    seen = next(delta for delta in again if isinstance(delta, Progress))
    assert seen.processed < seen.total
    again.close()
    assert list(again) == []


def test_logprobs_belong_to_the_text(llm: LLM) -> None:
    response = ask(llm, "Name three colours.", replace(GREEDY, top_logprobs=3))
    assert b"".join(token.token_bytes for token in response.logprobs).decode() == response.text
    for token in response.logprobs:
        assert token.logprob == token.top[0].logprob  # greedy
        assert 0 >= token.top[0].logprob >= token.top[1].logprob >= token.top[2].logprob
        assert len(token.top) == 3


def test_logit_bias_forces_and_forbids(llm: LLM) -> None:
    plain = ask(llm, "Name three colours.", replace(GREEDY, top_logprobs=1))
    token = llm.tokenizer.encode(plain.logprobs[0].token)[0]
    forbidden = ask(llm, "Name three colours.", replace(GREEDY, logit_bias={token: -100}))
    assert not forbidden.text.startswith(plain.logprobs[0].token)
    forced = ask(llm, "Name three colours.", replace(GREEDY, max_tokens=3, logit_bias={token: 100}))
    assert forced.text == plain.logprobs[0].token * 3
    with pytest.raises(InvalidRequest):
        ask(llm, "x", SamplingParams(logit_bias={10**6: 1.0}))


def test_an_assistant_message_at_the_end_is_continued(llm: LLM) -> None:
    turns = [
        Message("user", "What is the capital of France? Answer in one word."),
        Message("assistant", "The capital of France is Par"),
    ]
    assert llm.chat(turns, sampling=GREEDY).text.startswith("is")


def test_control_tokens_in_a_message_are_text(llm: LLM) -> None:
    clean = llm.prompt_tokens(request("Hello"))
    for name, token in llm.tokenizer.control_tokens.items():
        ids = llm.prompt_tokens(request(f"Hello {name} there"))
        assert ids.count(token) == clean.count(token), name


@pytest.mark.parametrize(
    "config",
    [
        engine_config(context_length=512, flash_attention="on"),
        engine_config(context_length=512, kv_type="q8_0"),
        engine_config(context_length=512, prefill_chunk=1, threads=1),
        engine_config(context_length=512, max_sequences=3, flash_attention="on", prefill_chunk=16),
    ],
    ids=str,
)
def test_every_way_of_loading_answers(config: EngineConfig) -> None:
    with LLM.load("demo", config) as llm:
        assert "Paris" in ask(llm, "What is the capital of France? Answer in one word.").text


def test_closing_ends_live_streams_and_refuses_later_ones() -> None:
    llm = LLM.load("demo", engine_config(context_length=512))
    stream = llm.stream(request("Go on.", SamplingParams(ignore_eos=True)))
    next(stream)
    llm.close()
    llm.close()
    with pytest.raises(EngineStopped):
        list(stream)
    with pytest.raises(EngineStopped):
        llm.stream(request("Hello"))
