"""What is read and written while it is measured. Any text would do; this one fits no cache twice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import ChatRequest, Message, TextRequest
from mistral_small_edge.chat.response_format import JsonSchema
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from mistral_small_edge.llm import LLM

# A form such as people have filled in: names, free text, numbers, a list. The text is one that fits.
_FORM = JsonSchema(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "remarks": {"type": "string"},
            "kind": {"enum": ["visitor", "member", "guest"]},
            "visits": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"day": {"type": "string"}, "hours": {"type": "number"}},
                    "required": ["day", "hours"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["name", "age", "remarks", "kind", "visits"],
        "additionalProperties": False,
    }
)
FORM = ChatRequest((Message("user", "Fill in the form."),), response_format=_FORM)
FILLED = (
    '{"name": "Ada Lovelace", "age": 36, "remarks": "Came for the engine and stayed for the tide.", '
    '"kind": "guest", "visits": [{"day": "Monday", "hours": 2.5}, {"day": "Friday", "hours": 4}]}'
)
_SENTENCE = "The tide comes in twice a day, and the harbour master writes down when. "


_NEVER = -100.0  # of a logit


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is run: `rounds` times, `sentences` of prompt (some 16 tokens each), `tokens` of answer."""

    rounds: int = 5
    sentences: int = 24
    tokens: int = 128

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("sentences", 1), ("tokens", 2)):
            if getattr(self, name) < least:
                raise InvalidRequest(f"{name} must be at least {least}", name)

    def request(self, llm: LLM, number: int) -> ChatRequest:
        """One round's; its number comes first, so that none finds the prompt of the one before."""
        text = f"Round {number}. " + _SENTENCE * self.sentences + "What does the harbour master do?"
        return ChatRequest((Message("user", text),), _writing(llm, self.tokens))

    def check_fit(self, llm: LLM) -> None:
        """Refuse what the context does not hold.

        Raises:
            InvalidRequest: the workload takes more tokens than the model was loaded for.
        """
        needed = len(llm.prompt_tokens(self.request(llm, 0))) + self.tokens
        if needed > llm.context_length:
            raise InvalidRequest(
                f"the workload takes {needed} tokens and the context holds {llm.context_length}",
                "sentences",
            )


def plain_text(llm: LLM, length: int, tokens: int) -> TextRequest:
    """`length` tokens of prose, to be gone on with by `tokens`; a longer one begins like a shorter."""
    ids = tuple(islice(cycle(llm.encode(_SENTENCE)), length))
    return TextRequest(ids, _writing(llm, tokens))


def _writing(llm: LLM, tokens: int) -> SamplingParams:
    """So many tokens of text: one that ends the answer, or a call, would show nothing."""
    never = dict.fromkeys(llm.tokenizer.control_tokens.values(), _NEVER)
    return SamplingParams(max_tokens=tokens, ignore_eos=True, logit_bias=never)
