"""One request while it is computed: the engine's only mutable value, touched by one thread."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from mistral_small_edge.engine.detokenizer import Detokenizer

if TYPE_CHECKING:
    from mistral_small_edge.engine.backend import Constraint, Logits, Vectors
    from mistral_small_edge.engine.prompt import Picture, Prompt
    from mistral_small_edge.engine.sampler import Sampled, Sampler
    from mistral_small_edge.engine.speculation import Drafter
    from mistral_small_edge.sampling_params import SamplingParams


class SequenceStatus(Enum):
    """Where a sequence stands; it only ever moves forward."""

    WAITING = auto()
    PREFILL = auto()
    DECODE = auto()
    ENDED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt, the answer so far, and the KV rows that hold them.

    Invariants: `tokens` begins with the prompt's identity; rows `0..num_computed` of `slot` hold
    `tokens[:num_computed]`; while decoding, exactly the last token is not computed yet.
    The first `num_exact` rows came from prefill chunks alone, none of them below the class border.
    `vectors` are of the picture that is read next, once they are there.
    `known` are the logits behind the prompt, if it was read before.
    `draft` is a guess of what follows `tokens`, to be checked with the next row.
    """

    request: int
    prompt: Prompt
    params: SamplingParams
    arrived: float
    constraint: Constraint | None = None
    speculate: bool = True
    status: SequenceStatus = SequenceStatus.WAITING
    tokens: list[int] = field(init=False)
    digest: bytes = field(init=False)
    slot: int = -1
    num_computed: int = 0
    num_cached: int = 0
    num_exact: int = 0
    vectors: Vectors | None = None
    known: Logits | None = None
    sampler: Sampler | None = None
    drafter: Drafter | None = None
    draft: tuple[int, ...] = ()
    started: float = 0.0
    answered: float = 0.0
    looked: float = 0.0
    text: Detokenizer = field(init=False)
    _unshown: deque[tuple[int, int, Sampled]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.tokens = self.prompt.identity()
        self.digest = self.prompt.digest()
        self.text = Detokenizer(self.params.stop)

    @property
    def num_generated(self) -> int:
        """Tokens of the answer, the ending one included."""
        return len(self.tokens) - len(self.prompt)

    @property
    def stretch(self) -> tuple[int, Picture | None]:
        """Where the text or the picture ends that the next row is of; the picture, if it is one."""
        return self.prompt.stretch(self.num_computed)

    @property
    def remaining_prompt(self) -> int:
        """Prompt tokens without a row yet."""
        return max(0, len(self.prompt) - self.num_computed)

    def append(self, sampled: Sampled, piece: bytes) -> str:
        """Take the next token of text, or the one that ends it; the text that it lets out."""
        self.tokens.append(sampled.token)
        before = self.text.decoded
        shown = self.text.feed(piece)
        if sampled.score is not None:
            self._unshown.append((before, self.text.decoded, sampled))
        return shown

    def append_control(self, token: int) -> str:
        """Take a control token; the text that was held back before it."""
        self.tokens.append(token)
        text = self.text.control()
        if self.constraint is not None and token == self.constraint.prose_until:
            self.text.drop_stops()
        return text

    def shown_scores(self) -> tuple[Sampled, ...]:
        """Scored tokens whose text is out by now and was not before.

        A token that a stop string cuts through counts as out if any of its text is.
        """
        scores = []
        while self._unshown:
            start, end, sampled = self._unshown[0]
            cut = self.text.stopped and start < self.text.released
            if end > self.text.released and not cut:
                break
            self._unshown.popleft()
            scores.append(sampled)
        if self.text.stopped:
            self._unshown.clear()
        return tuple(scores)
