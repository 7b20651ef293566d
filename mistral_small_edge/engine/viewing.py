"""The picture that is being looked at: slice by slice, one at a time, for all who wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_small_edge.engine.sequence import Sequence, SequenceStatus
from mistral_small_edge.errors import EncodeFailed, ModelLoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mistral_small_edge.engine.backend import Looking, ModelRunner
    from mistral_small_edge.images import Image


class Viewing:
    """Turns pictures into vectors for the sequences that come upon them.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, runner: ModelRunner, clock: Callable[[], float]) -> None:
        self._runner = runner
        self._clock = clock
        self._current: tuple[Image, Looking] | None = None

    def step(self, sequence: Sequence, image: Image) -> float | None:
        """Bring the picture's vectors nearer by a slice, and give them to the sequence if that was all.

        Returns: the share that is done, 0..1; None if nothing was done for this picture now.

        Raises:
            EncodeFailed, ModelLoadFailed: it cannot be looked at.
        """
        sequence.vectors = self._runner.seen(image)
        if sequence.vectors is not None:
            return None
        if self._current is None:
            self._current = image, self._runner.look_at(image)
            return 0.0  # to be told before the first slice, which may take seconds
        seen, looking = self._current
        if seen.digest != image.digest:
            return None  # one at a time: this picture's turn comes
        begun = self._clock()
        try:
            sequence.vectors = looking.advance()
        except (EncodeFailed, ModelLoadFailed):
            self.stop()
            raise
        sequence.looked += self._clock() - begun
        done = looking.done
        if sequence.vectors is not None:
            self.stop()
        return done

    def stop_if_unwanted(self, sequences: Iterable[Sequence]) -> None:
        """Give up a picture that none of the sequences waits for."""
        if self._current is not None and not _is_next(self._current[0], sequences):
            self.stop()

    def stop(self) -> None:
        """Give up what is under way. Idempotent."""
        if self._current is not None:
            self._current[1].close()
            self._current = None


def _is_next(image: Image, sequences: Iterable[Sequence]) -> bool:
    """Whether it is the next picture of a prompt that is being read.

    Not a later one, nor a prompt's that waits for a slot: nobody would go on looking before
    what he needs first, and that would wait for this.
    """
    return any(
        sequence.status is SequenceStatus.PREFILL
        and (coming := sequence.prompt.next_picture(sequence.num_computed)) is not None
        and coming.image.digest == image.digest
        for sequence in sequences
    )
