"""Text completions through OpenAI's own client, and the way an evaluation harness scores with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from openai import BadRequestError

from mistral_small_edge.chat.messages import TextRequest
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from openai import OpenAI

    from mistral_small_edge.llm import LLM

PROMPT = "The tide comes in twice a day."


def complete(client: OpenAI, **more: Any) -> Any:
    given: dict[str, Any] = {"model": "mistral-small-3.2", "prompt": PROMPT, "seed": 1} | more
    return client.completions.create(**given)


def test_a_completion_has_openais_shape(client: OpenAI) -> None:
    answer = complete(client, max_tokens=5)
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    (choice,) = answer.choices
    assert choice.text
    assert choice.logprobs is None
    assert choice.finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_sixteen_tokens_unless_said_otherwise(client: OpenAI) -> None:
    assert complete(client, logit_bias={"2": -100}).usage.completion_tokens == 16


def test_a_stream_spells_the_whole(client: OpenAI) -> None:
    whole = complete(client)
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_stream_scores_what_the_whole_scores(client: OpenAI) -> None:
    whole = complete(client, logprobs=2).choices[0].logprobs
    pieces = [chunk.choices[0].logprobs for chunk in complete(client, logprobs=2, stream=True)]
    tokens = [token for piece in pieces if piece for token in piece.tokens]
    scores = [score for piece in pieces if piece for score in piece.token_logprobs]
    assert tokens == whole.tokens
    assert scores == pytest.approx(whole.token_logprobs)
    assert None not in whole.token_logprobs


def test_prompts_of_every_form(client: OpenAI, llm: LLM) -> None:
    ids = list(llm.prompt_tokens(TextRequest(PROMPT)))
    alone = complete(client).choices[0].text
    assert complete(client, prompt=ids).choices[0].text == alone
    both = complete(client, prompt=[PROMPT, "Another"]).choices
    assert [choice.index for choice in both] == [0, 1]
    assert both[0].text == alone
    assert complete(client, prompt=[ids, ids]).choices[1].text == alone
    choices = complete(client, prompt=[PROMPT, PROMPT], n=2, temperature=1).choices
    texts = [choice.text for choice in choices]
    assert texts[:2] == texts[2:]
    assert texts[0] != texts[1]


def test_a_harness_scores_what_it_sent(client: OpenAI, llm: LLM) -> None:
    """lm-evaluation-harness: ids in, echo, one token to be written, scores of all but that one."""
    context, continuation = llm.prompt_tokens(TextRequest("The tide")), llm.encode(" comes in")
    sent = [*context, *continuation]
    answer = complete(client, prompt=sent, max_tokens=1, temperature=0, logprobs=1, echo=True)
    scores = answer.choices[0].logprobs
    assert len(scores.tokens) == len(scores.token_logprobs) == len(sent) + 1
    assert scores.token_logprobs[0] is None
    likelihood = sum(scores.token_logprobs[len(context) : -1])
    scoring = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=1)
    own = llm.answer(TextRequest(tuple(sent), scoring)).prompt_logprobs
    assert likelihood == pytest.approx(sum(one.logprob for one in own[len(context) - 1 :]))
    for token, top in zip(scores.tokens[1:], scores.top_logprobs[1:], strict=True):
        assert token in top
        assert max(top.values()) <= 0
    assert answer.choices[0].text.startswith("The tide comes in")


def test_an_echo_of_nothing_more(client: OpenAI) -> None:
    whole = complete(client, max_tokens=0, echo=True, logprobs=0)
    assert whole.usage.completion_tokens == 0
    answer = whole.choices[0]
    assert answer.text == PROMPT
    assert "".join(answer.logprobs.tokens) == PROMPT
    starts = answer.logprobs.text_offset
    assert all(
        PROMPT[start:].startswith(token)
        for start, token in zip(starts, answer.logprobs.tokens, strict=True)
    )


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True, "stream": True}, "echo"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[1], []]}, "prompt"),
        ({"prompt": [1] * 3000}, "messages"),
        ({"prompt": [1, 99999]}, "prompt"),
        ({"n": 3}, "n"),
        ({"prompt": [PROMPT] * 40}, "prompt"),
        ({"temperature": 5}, "temperature"),
        ({"extra_body": {"grammar": "x"}}, "grammar"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    client: OpenAI, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        complete(client, **more)
    assert caught.value.param == param
