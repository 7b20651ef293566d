"""A real model's rows: what was written and read again is, to the last bit, what was only read."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from mistral_small_edge.engine.engine import Engine
from mistral_small_edge.engine.outputs import Finished, TextOutput
from mistral_small_edge.engine.prompt import Prompt
from mistral_small_edge.llama.model import ModelOptions, load_model
from mistral_small_edge.llama.runner import LlamaRunner
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.store.catalog import resolve
from tests.model.config import GPU_LAYERS

pytestmark = pytest.mark.model

CHUNK = 64


def options(*, flash_attention: bool) -> ModelOptions:
    return ModelOptions(
        context_length=1024,
        max_sequences=2,
        prefill_chunk=CHUNK,
        threads=1,
        gpu_layers=GPU_LAYERS,
        kv_type="f16",
        flash_attention=flash_attention,
        mlock=False,
    )


@dataclass(frozen=True)
class Answer:
    text: str
    logprobs: tuple[float, ...]
    cached_tokens: int


class Asked:
    """An engine over a model, and a conversation with it."""

    def __init__(self, stack: ExitStack, options: ModelOptions, most: int) -> None:
        model = stack.enter_context(closing(load_model(resolve("demo").path, options)))
        self._tokenizer = LlamaTokenizer(model)
        self._most = most
        self.engine = Engine(LlamaRunner(model, options), self._tokenizer, prefill_chunk=CHUNK)

    def ask(self, text: str) -> Answer:
        params = SamplingParams(temperature=0, max_tokens=self._most, top_logprobs=0)
        self.engine.add(0, Prompt(tuple(self._tokenizer.encode(text))), params)
        outputs = []
        while self.engine.has_work:
            outputs += [output for _, output in self.engine.step()]
        said = [output for output in outputs if isinstance(output, TextOutput)]
        (end,) = [output for output in outputs if isinstance(output, Finished)]
        scores = tuple(one.chosen.logprob for output in said for one in output.scored)
        return Answer("".join(output.text for output in said), scores, end.cached_tokens)


@pytest.mark.parametrize(("flash_attention", "most"), [(False, 24), (True, 150)])
def test_turns_give_the_same_bits_whether_or_not_they_were_read_before(
    flash_attention: bool, most: int
) -> None:
    chosen = options(flash_attention=flash_attention)
    with ExitStack() as stack:
        one, other = (Asked(stack, chosen, most) for _ in range(2))
        text = "Trees grow where the water is. " * 30
        cached = []
        for turn in range(3):
            asked, answer = text, one.ask(text)
            cached.append(answer.cached_tokens)
            steps = 0
            while one.engine.read_again():
                steps += 1
            assert bool(steps) == (turn > 0)
            text += answer.text + " And then? "
        assert cached[2] - cached[1] > most, "the second answer was read before it was asked about"
        anew = other.ask(asked)
        assert anew.cached_tokens == 0
        assert (anew.text, anew.logprobs) == (answer.text, answer.logprobs)
