"""What is told of sequences: tokens, progress and ends as outputs, in the order in which they came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_small_edge.engine.outputs import (
    ControlOutput,
    Failed,
    Finished,
    FinishReason,
    Output,
    PictureProgress,
    PromptProgress,
    PromptScores,
    ScoredPiece,
    ScoredToken,
    TextOutput,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mistral_small_edge.engine.backend import Tokenizer
    from mistral_small_edge.engine.sampler import Sampled, TokenScore
    from mistral_small_edge.engine.sequence import Sequence
    from mistral_small_edge.errors import EdgeError


class Telling:
    """Of one step after the other.

    Attributes:
        outputs: of this step, by request.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.outputs: list[tuple[int, Output]] = []

    def new_step(self) -> None:
        """Begin anew; who has the outputs so far keeps them."""
        self.outputs = []

    def progress(self, sequence: Sequence) -> None:
        """How much of the prompt is there."""
        total = len(sequence.prompt)
        self._tell(sequence, PromptProgress(sequence.num_computed, total, sequence.num_cached))

    def looking(self, sequence: Sequence, done: float) -> None:
        """How much of the picture that comes next has been looked at, from 0 to 1."""
        pictures = sequence.prompt.pictures
        number = sum(picture.start <= sequence.num_computed for picture in pictures)
        self._tell(sequence, PictureProgress(number, len(pictures), done))

    def prompt_scores(self, sequence: Sequence, scores: Iterable[Sampled]) -> None:
        """How likely each of some tokens of the prompt was."""
        self._tell(sequence, PromptScores(tuple(map(self._scored, scores))))

    def text(self, sequence: Sequence, text: str) -> None:
        """What has been added to the answer, if anything has."""
        if text:
            scored = tuple(map(self._scored, sequence.shown_scores()))
            self._tell(sequence, TextOutput(text, scored))

    def control(self, sequence: Sequence, sampled: Sampled) -> None:
        """A mark of the model's format."""
        scored = None if sampled.score is None else self._scored(sampled)
        self._tell(sequence, ControlOutput(sampled.token, scored))

    def finished(self, sequence: Sequence, reason: FinishReason, now: float) -> None:
        """The answer is complete; what it took until `now`, on the engine's clock."""
        self._tell(
            sequence,
            Finished(
                reason,
                prompt_tokens=len(sequence.prompt),
                completion_tokens=sequence.num_generated,
                cached_tokens=sequence.num_cached,
                queue_seconds=sequence.started - sequence.arrived,
                prompt_seconds=sequence.answered - sequence.started,
                image_seconds=sequence.looked,
                decode_seconds=now - sequence.answered,
                drafted_tokens=sequence.drafter.drafted if sequence.drafter else 0,
                accepted_tokens=sequence.drafter.accepted if sequence.drafter else 0,
            ),
        )

    def failed(self, sequence: Sequence, error: EdgeError) -> None:
        """It cannot go on."""
        self._tell(sequence, Failed(error))

    def _scored(self, sampled: Sampled) -> ScoredToken:
        assert sampled.score is not None  # noqa: S101 - a sequence keeps no others
        return ScoredToken(self._piece(sampled.score), tuple(map(self._piece, sampled.top)))

    def _piece(self, score: TokenScore) -> ScoredPiece:
        return ScoredPiece(self._tokenizer.token_bytes(score.token), score.logprob)

    def _tell(self, sequence: Sequence, output: Output) -> None:
        self.outputs.append((sequence.request, output))
