"""How well two files read the same text: what quantizing has cost, in a minute and without a data set.

A few hundred tokens tell a broken file from a sound one, and roughly a good type from a poor one. They
are no benchmark: figures are for comparing two files of one model, here and now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import TextRequest
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from mistral_small_edge.chat.deltas import TokenLogprob
    from mistral_small_edge.llm import LLM

TOKENS = 1024  # of the context it is read in; the text has fewer in most vocabularies
_ALTERNATIVES = 20  # of each token
_READING = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=_ALTERNATIVES)

TEXT = """\
The lighthouse on the northern cape was built in 1874, after three ships had been lost in a single \
winter. Its lamp burned oil at first, then gas, and since 1931 electric light. The keeper climbed \
212 steps every evening; his log, which the harbour museum shows today, gives the weather, the ships \
that passed, and now and then a line about his goats.

Q: A train leaves at 9:40 and arrives at 12:15. How long does it take?
A: From 9:40 to 12:00 are 2 hours and 20 minutes, and 15 more make 2 hours and 35 minutes.

def mean(values: list[float]) -> float:
    \"\"\"The arithmetic mean; the list must not be empty.\"\"\"
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)

Water boils at a lower temperature on a mountain than at the sea, because the air presses less on its \
surface. At 3,000 metres it boils at about 90 degrees Celsius, so that an egg takes longer to cook. A \
pressure cooker does the opposite: it holds the steam back, and the water in it grows hotter than 100 \
degrees.

{"name": "Ada", "born": 1815, "languages": ["English", "French"], "known_for": "the first program"}

La bibliothèque ouvre à neuf heures et ferme à dix-huit heures, sauf le dimanche. Pour emprunter un \
livre, il faut une carte, qui est gratuite pour les habitants de la ville.

Der Zug nach Hamburg fährt heute von Gleis sieben ab und hat etwa zehn Minuten Verspätung. Wir bitten \
um Entschuldigung.
"""


@dataclass(frozen=True, slots=True)
class Score:
    """The text's tokens, each with what the model would rather have read in its place."""

    read: tuple[TokenLogprob, ...]

    @property
    def perplexity(self) -> float:
        """Of how many tokens, as it were, it had to choose each next one; 1 is foresight."""
        return math.exp(-sum(token.logprob for token in self.read) / len(self.read))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two models expect what comes next.

    Attributes:
        same_first: the share of places where the likeliest token is the same.
        divergence: of the second's expectations from the first's, in nats a token: the mean Kullback-
            Leibler divergence over the tokens that both think likely and all others as one, which
            is less than the whole by little.
    """

    same_first: float
    divergence: float


def score(llm: LLM) -> Score:
    """Let a model read the text, or as much of it as its context holds."""
    ids = llm.prompt_tokens(TextRequest(TEXT))[: llm.context_length - 1]
    return Score(llm.answer(TextRequest(ids, _READING)).prompt_logprobs)


def agreement(first: Score, second: Score) -> Agreement:
    """Of two files of one model.

    Raises:
        ValueError: they have not read the same tokens.
    """
    pairs = list(zip(first.read, second.read, strict=True))
    if any(one.token_bytes != other.token_bytes for one, other in pairs):
        raise ValueError("two vocabularies do not compare")
    same = sum(_first(one) == _first(other) for one, other in pairs)
    divergence = sum(_divergence(one, other) for one, other in pairs)
    return Agreement(same / len(pairs), divergence / len(pairs))


def _first(place: TokenLogprob) -> bytes:
    return place.top[0].token_bytes


def _divergence(one: TokenLogprob, other: TokenLogprob) -> float:
    """In nats, at one place."""
    before, after = _likely(one), _likely(other)
    shared = before.keys() & after.keys()
    terms = [(before[token], after[token]) for token in shared]
    terms.append((1 - sum(p for p, _ in terms), 1 - sum(q for _, q in terms)))
    # Sums of many rounded numbers: a rest of nothing may come out a little below it.
    return max(0.0, sum(p * math.log(p / max(q, 1e-9)) for p, q in terms if p > 1e-9))


def _likely(place: TokenLogprob) -> dict[bytes, float]:
    """Probabilities; tokens that spell the same count together."""
    found: dict[bytes, float] = {}
    for token in place.top:
        found[token.token_bytes] = found.get(token.token_bytes, 0.0) + math.exp(token.logprob)
    return found
