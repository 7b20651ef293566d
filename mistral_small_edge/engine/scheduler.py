"""Who is computed next.

Work goes in rounds: every running answer gets one token, then one prompt gets one chunk. So a
long prompt holds up running answers by one chunk at the most, and answers cannot starve prompts.
Prompts take turns. A batch never mixes prompt and answer rows, nor two prompts: results would
then depend on who else is there (see RowClasses).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import SCORED_ROWS, Batch, Chunk, RowClasses
from mistral_small_edge.engine.chunk_size import ChunkSize
from mistral_small_edge.engine.sequence import Sequence, SequenceStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.engine.prefix_cache import PrefixCache


class Scheduler:
    """Waiting and running sequences, and the order in which they are served."""

    def __init__(
        self, cache: PrefixCache, rows: RowClasses, prefill_chunk: int, *, reuse: bool = True
    ) -> None:
        self._cache = cache
        self._rows = rows
        self._reuse = reuse
        self.chunk_size = ChunkSize(prefill_chunk, smallest=2 * rows.min_prefill_rows)
        self._waiting: deque[Sequence] = deque()
        self._prefilling: deque[Sequence] = deque()
        self._decoding: list[Sequence] = []
        self._round: deque[list[Sequence]] = deque()

    @property
    def has_work(self) -> bool:
        """Whether any sequence is not ended."""
        return bool(self._waiting or self._prefilling or self._decoding)

    @property
    def live(self) -> Iterator[Sequence]:
        """Every sequence that is not ended."""
        yield from (*self._waiting, *self._prefilling, *self._decoding)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence behind those that wait."""
        self._waiting.append(sequence)

    def admit(self) -> list[Sequence]:
        """Give free slots to waiting sequences, first come first served."""
        admitted = []
        while self._waiting and self._place(self._waiting[0]):
            sequence = self._waiting.popleft()
            sequence.status = SequenceStatus.PREFILL
            self._prefilling.append(sequence)
            admitted.append(sequence)
        return admitted

    def schedule(self) -> tuple[Batch, list[Sequence]]:
        """The next batch and the sequences its chunks belong to, in order; empty if idle."""
        while self._round or self._decoding or self._prefilling:
            if not self._round:
                self._round.extend(self._decode_groups())
                if self._prefilling:
                    self._round.append([self._prefilling[0]])
                    self._prefilling.rotate(-1)
            # Some may have ended since the round began.
            group = [
                sequence
                for sequence in self._round.popleft()
                if sequence.status is not SequenceStatus.ENDED
            ]
            if group:
                return tuple(self._chunk_of(sequence) for sequence in group), group
        return (), []

    def computed(self, sequence: Sequence, chunk: Chunk) -> None:
        """Note that the chunk's rows are there; a prompt that is complete begins to answer."""
        sequence.num_computed += len(chunk.tokens)
        if sequence.status is not SequenceStatus.PREFILL:
            return
        of_class = len(chunk.tokens) >= self._rows.min_prefill_rows
        if of_class and sequence.num_exact == chunk.start:
            sequence.num_exact = sequence.num_computed
        if not sequence.remaining_prompt:
            sequence.status = SequenceStatus.DECODE
            self._prefilling.remove(sequence)
            self._decoding.append(sequence)

    def end(self, sequence: Sequence, *, rows_valid: bool = True) -> None:
        """Take the sequence out, wherever it is; its slot keeps the rows that are valid."""
        match sequence.status:
            case SequenceStatus.WAITING:
                self._waiting.remove(sequence)
            case SequenceStatus.PREFILL:
                self._prefilling.remove(sequence)
            case SequenceStatus.DECODE:
                self._decoding.remove(sequence)
            case SequenceStatus.ENDED:
                raise ValueError(f"request {sequence.request} has ended already")
        if sequence.slot >= 0:
            rows = sequence.num_computed if rows_valid else 0
            self._cache.release(sequence.slot, sequence.tokens[:rows], sequence.num_exact)
        sequence.status = SequenceStatus.ENDED

    def _place(self, sequence: Sequence) -> bool:
        prompt = sequence.prompt
        # A chunk below min_prefill_rows is of another class: compute some rows again.
        most = max(0, len(prompt) - self._rows.min_prefill_rows)
        reuse = self._reuse and sequence.params.prompt_logprobs is None  # a score needs its row
        allocation = self._cache.allocate(
            prompt, limit=most if reuse else 0, exact=sequence.params.repeatable
        )
        if allocation is None:
            return False
        sequence.slot = allocation.slot
        sequence.num_cached = sequence.num_computed = allocation.num_cached
        sequence.num_exact = allocation.num_exact
        return True

    def _chunk_of(self, sequence: Sequence) -> Chunk:
        start = sequence.num_computed
        prefill = sequence.status is SequenceStatus.PREFILL
        size = self._prefill_size(sequence) if prefill else 1
        tokens = tuple(sequence.tokens[start : start + size])
        score = prefill and sequence.params.prompt_logprobs is not None
        return Chunk(sequence.slot, start, tokens, start + size == len(sequence.tokens), score)

    def _prefill_size(self, sequence: Sequence) -> int:
        remaining = sequence.remaining_prompt
        if sequence.params.prompt_logprobs is not None:
            return min(remaining, SCORED_ROWS)
        size = min(remaining, self.chunk_size.size)
        left = remaining - size
        # A chunk is at least twice min_prefill_rows, so what this takes away leaves enough.
        if 0 < left < self._rows.min_prefill_rows:
            size = remaining - self._rows.min_prefill_rows
        return size

    def _decode_groups(self) -> list[list[Sequence]]:
        """One batch for all if their number does not matter; else the repeatable ones apart."""
        width = self._rows.max_repeatable_rows
        if len(self._decoding) <= width:
            return [list(self._decoding)] if self._decoding else []
        apart = [sequence for sequence in self._decoding if sequence.params.repeatable]
        others = [sequence for sequence in self._decoding if not sequence.params.repeatable]
        groups = [apart[at : at + width] for at in range(0, len(apart), width)]
        return [*groups, others] if others else groups
