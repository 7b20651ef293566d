"""Scores of a prompt's own tokens: each once, in order, from rows computed for it."""

from __future__ import annotations

import pytest

from mistral_small_edge.engine.backend import LOGITS_ROWS
from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.outputs import Finished, PromptScores
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.sampling_params import SamplingParams
from tests.fakes import FALL, VOCAB, FakeRunner, FakeTokenizer, next_token

SCORED = SamplingParams(prompt_logprobs=1, max_tokens=1)


def scores(engine: Engine, prompt: tuple[int, ...], params: SamplingParams) -> list[PromptScores]:
    engine.add(0, Prompt(prompt), params)
    found = []
    while engine.has_work:
        for _, output in engine.step():
            if isinstance(output, PromptScores):
                found.append(output)
            if isinstance(output, Finished):
                assert output.cached_tokens == 0 or params.prompt_logprobs is None
    return found


@pytest.mark.parametrize("length", [1, 2, LOGITS_ROWS, LOGITS_ROWS + 1, 50])
def test_every_token_but_the_first_is_scored(length: int) -> None:
    prompt = tuple(number % 200 for number in range(1, length + 1))
    runner = FakeRunner(context_length=100)
    engine = Engine(runner, FakeTokenizer(), prefill_chunk=64)
    scores(engine, prompt, SamplingParams(max_tokens=1))  # leaves rows that could be reused
    scored = [one for part in scores(engine, prompt, SCORED) for one in part.scored]
    assert [one.chosen.piece for one in scored] == [bytes([token]) for token in prompt[1:]]
    for place, one in enumerate(scored):
        # What is likeliest follows from every row before; how likely others are, from it.
        likeliest = next_token(prompt[: place + 1])
        assert one.chosen.logprob == -FALL * ((prompt[place + 1] - likeliest) % VOCAB)
        expected = b"" if likeliest >= 256 else bytes([likeliest])
        assert [other.piece for other in one.top] == [expected]
    assert all(
        len(chunk.tokens) <= LOGITS_ROWS
        for batch in runner.batches
        for chunk in batch
        if chunk.score
    )


def test_nobody_else_is_scored() -> None:
    engine = Engine(FakeRunner(), FakeTokenizer(), prefill_chunk=64)
    assert scores(engine, (1, 2, 3), SamplingParams(max_tokens=3)) == []
