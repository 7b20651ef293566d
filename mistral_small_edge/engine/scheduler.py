"""Who is computed next.

Work goes in rounds: every running answer gets one token, then one prompt gets one chunk, or several
short ones get as much together. So prompts hold up running answers by one chunk at the most, which is
small while there are any, and answers cannot starve prompts. Prompts take turns; a picture is looked
at in the turn of the prompt that it stands in. A batch never mixes prompt and answer rows, nor prompts of
different length: results would then depend on who else is there (see RowClasses). An answer with a
guess to check is computed alone for the same reason.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import Batch, Chunk, RowClasses
from mistral_small_edge.engine.chunk_size import ChunkSize
from mistral_small_edge.engine.cutting import Cutting
from mistral_small_edge.engine.grouping import Grouping
from mistral_small_edge.engine.prompt_logits import PromptLogits
from mistral_small_edge.engine.reading import Reading
from mistral_small_edge.engine.sequence import Sequence, SequenceStatus
from mistral_small_edge.engine.speculation import WORTH, Drafter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_small_edge.engine.backend import DraftModel
    from mistral_small_edge.engine.calibration import StepCosts
    from mistral_small_edge.engine.gathering import Gathering
    from mistral_small_edge.engine.passes import Passes
    from mistral_small_edge.engine.prefix_cache import Allocation, PrefixCache
    from mistral_small_edge.engine.prompt import Picture
    from mistral_small_edge.engine.reuse import Reuse


@dataclass(frozen=True, slots=True)
class Compute:
    """A batch, and the sequences that its chunks belong to, in order; chunks of no tokens are nobody's."""

    batch: Batch
    sequences: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A sequence whose next rows another slot has: all that it has up to there is to be copied."""

    sequence: Sequence
    found: Allocation


@dataclass(frozen=True, slots=True)
class Look:
    """A sequence whose next rows are a picture's that has no vectors yet."""

    sequence: Sequence
    picture: Picture


@dataclass(frozen=True, slots=True)
class Recall:
    """A sequence whose prompt is all there; what the model made of it was kept as well."""

    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Swap:
    """A sequence that is to change places with what a free slot holds, `rows` rows."""

    sequence: Sequence
    slot: int
    rows: int


class Scheduler:
    """Waiting and running sequences, and the order in which they are served.

    Args:
        lane: rows in a slot.
        keeps_rows: whether a slot can forget its last rows and keep the others; without, nothing
            is reused or guessed.
        costs: what wider batches take; None makes no guesses.
        draft_model: writes guesses where a text has none itself.
        gathering: has answers lie side by side; None leaves them where they began.
        passes: what passes of several answers take; None where that is not known.
        at_once: answers that are expected to be written at the same time.
        prefill_seconds: what a prompt's chunk may take, about, while others are being answered.
    """

    def __init__(
        self,
        cache: PrefixCache,
        rows: RowClasses,
        prefill_chunk: int,
        *,
        lane: int,
        keeps_rows: bool = True,
        costs: StepCosts | None = None,
        draft_model: DraftModel | None = None,
        gathering: Gathering | None = None,
        passes: Passes | None = None,
        at_once: int = 1,
        prefill_seconds: float = 1.0,
    ) -> None:
        self._cache = cache
        self._draft_model = draft_model
        self._costs = costs if keeps_rows else None
        self._lane = lane
        self._cutting = Cutting(rows, lane, keeps_rows)
        # A smaller model has what it has read in the slot where it began.
        self._gathering = gathering if keeps_rows and draft_model is None else None
        passes = passes if keeps_rows else None
        self._grouping = Grouping(rows, cache, passes)
        self._reading = Reading(rows, self._cutting, cache, passes, lane)
        self._at_once = at_once
        self._settled = True  # whether all that was copied has been moved
        self.chunk_size = ChunkSize(prefill_chunk, 2 * rows.min_prefill_rows, prefill_seconds)
        self.prompt_logits = PromptLogits()
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

    def schedule(self) -> Compute | Copy | Look | Recall | Swap | None:
        """What to do next; None if there is nothing."""
        while self._round or self._decoding or self._prefilling:
            if not self._round:
                if swap := self._to_gather():
                    return swap
                self._round.extend(self._decode_groups())
                self._round.extend(self._prompt_groups())
            group = _still_at(self._round.popleft())
            if group and (work := self._work(group)):
                return work
        return None

    def _work(self, group: list[Sequence]) -> Compute | Copy | Look | Recall | None:
        """What to do for sequences of one status; None if they are to be taken one by one."""
        if group[0].status is SequenceStatus.DECODE:
            return self._to_answer(group)
        for sequence in group:
            if work := self._to_copy(sequence) or _to_recall(sequence) or _to_look_at(sequence):
                if len(group) > 1:
                    self._round.appendleft(group)
                return work
        return self._to_read(group)

    def computed(self, sequence: Sequence, chunk: Chunk) -> None:
        """Note that the chunk's rows are there; a prompt that is complete begins to answer."""
        sequence.num_computed += len(chunk.tokens) - chunk.drafted
        if sequence.status is SequenceStatus.PREFILL:
            self._read(sequence, chunk)
        self._cache.advance(sequence.slot, sequence.num_computed, sequence.num_exact)

    def guessed(self, sequence: Sequence) -> None:
        """Note that the next row, computed for a guess, is of the token that was drawn."""
        sequence.num_computed += 1
        if sequence.drafter is not None:
            sequence.drafter.accepted += 1
        self._cache.advance(sequence.slot, sequence.num_computed, sequence.num_exact)

    def lost(self, sequence: Sequence) -> None:
        """Note that the sequence's slot holds nothing."""
        sequence.num_cached = sequence.num_computed = sequence.num_exact = 0
        self._cache.advance(sequence.slot, 0, 0)

    def copied(self, copy: Copy) -> None:
        """Note that the rows are there; none of them was computed for this sequence."""
        self._settled = False
        sequence, rows = copy.sequence, copy.found.num_cached
        if sequence.prompt.stretch(rows) != sequence.stretch:
            sequence.vectors = None  # of a picture that is read now
        sequence.num_cached += rows - sequence.num_computed
        sequence.num_computed, sequence.num_exact = rows, copy.found.num_exact
        self._cache.advance(sequence.slot, rows, sequence.num_exact)

    def leave_in_place(self) -> None:
        """Ask for no swap again."""
        self._gathering = None

    def _read(self, sequence: Sequence, chunk: Chunk) -> None:
        if sequence.num_exact == chunk.start:
            sequence.num_exact += self._cutting.exact_rows(sequence, chunk)
        if sequence.num_computed == sequence.prompt.stretch(chunk.start)[0]:
            sequence.vectors = None  # of a picture that has been read
        if not sequence.remaining_prompt:
            self.answers(sequence)

    def answers(self, sequence: Sequence) -> None:
        """Note that the prompt is there, and the answer begins."""
        sequence.status = SequenceStatus.DECODE
        self._prefilling.remove(sequence)
        self._decoding.append(sequence)
        if self._costs is not None and sequence.speculate:
            sequence.drafter = self._drafter(sequence, self._costs)

    def _drafter(self, sequence: Sequence, costs: StepCosts) -> Drafter:
        model = None if sequence.prompt.pictures else self._draft_model  # it sees nothing
        if model is not None and sequence.params.repeatable:
            model.forget(sequence.slot)
        return Drafter(costs, model, sequence.slot)

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
        allocation = self._cache.allocate(sequence.tokens, self.reuse(sequence))
        if allocation is None:
            return False
        sequence.slot = allocation.slot
        sequence.num_cached = sequence.num_computed = allocation.num_cached
        sequence.num_exact = allocation.num_exact
        return True

    def _next_prompts(self, most: int) -> list[Sequence]:
        """Whose turn it is, and those behind it if all of their rows are no more than `most`."""
        chosen: list[Sequence] = []
        rows = 0
        for sequence in self._prefilling:
            # Nobody knows how long a picture is looked at.
            is_text = sequence.stretch[1] is None
            rows += sequence.remaining_prompt if is_text else most
            if chosen and rows > most:
                break
            chosen.append(sequence)
        return chosen

    def _prompt_groups(self) -> list[list[Sequence]]:
        """Whose turn it is, who shares a batch with it, and others if all of them are no more than a chunk.

        A chunk as while somebody is answered: the first to be read may begin to answer.
        """
        most = self.chunk_size.of_all(alone=not self._decoding)
        groups = self._reading.groups(self._next_prompts(most), most)
        soon = self._next_prompts(self.chunk_size.size)
        chosen = [group for group in groups if group is groups[0] or _is_among(group, soon)]
        for sequence in [one for group in chosen for one in group]:
            self._prefilling.remove(sequence)
            self._prefilling.append(sequence)
        return chosen

    def _to_copy(self, sequence: Sequence) -> Copy | None:
        """What another slot has of the prompt by now: several that begin alike are read once."""
        if sequence.status is not SequenceStatus.PREFILL:
            return None
        found = self._cache.donor(sequence.slot, self.reuse(sequence))
        return None if found is None else Copy(sequence, found)

    def _to_answer(self, group: list[Sequence]) -> Compute:
        chunks = tuple(self._chunk_of(sequence) for sequence in group)
        if not group[0].draft:
            chunks = self._grouping.completed(chunks, group)
        return self._to_compute(chunks, group)

    def _to_read(self, group: list[Sequence]) -> Compute | None:
        if len(group) == 1:
            rows, alone = group[0].remaining_prompt, not self._decoding
            chunk = self._cutting.chunk(group[0], self.chunk_size.most(rows, alone=alone))
            return self._to_compute((chunk,), group)
        batch = self._reading.batch(group)
        if batch is not None:
            return self._to_compute(batch, group)
        self._round.extendleft([sequence] for sequence in reversed(group))
        return None

    def _to_compute(self, batch: Batch, group: list[Sequence]) -> Compute:
        self._settled = True  # by llama.cpp, before it computes
        return Compute(batch, tuple(group))

    def _to_gather(self) -> Swap | None:
        """A step towards answers that lie side by side."""
        if self._gathering is None or not self._settled or len(self._decoding) < 2:
            return None
        free = self._cache.free()
        move = self._gathering.move(self._grouping.groups(self._decoding), free)
        return None if move is None else Swap(*move, free[move[1]])

    def reuse(self, sequence: Sequence) -> Reuse:
        """What the sequence may begin with."""
        if sequence.known is None:
            exact = sequence.params.repeatable
            sequence.known = self.prompt_logits.find(sequence.digest, exact=exact)
        return self._cutting.reuse(sequence)

    def _chunk_of(self, sequence: Sequence) -> Chunk:
        start = sequence.num_computed
        tokens = (*sequence.tokens[start:], *sequence.draft)
        return Chunk(
            sequence.slot,
            start,
            tokens,
            sample=True,
            drafted=len(sequence.draft),
            padding=self._padding(start, len(tokens)) if sequence.draft else 0,
        )

    def _padding(self, start: int, rows: int) -> int:
        """Rows that make checking a guess cheaper."""
        assert self._costs is not None  # noqa: S101 - nothing is guessed without
        filled = self._costs.filled(rows)
        return filled - rows if start + filled <= self._lane else 0

    def _decode_groups(self) -> list[list[Sequence]]:
        """Guesses are checked alone; the others are computed in as few batches as may be."""
        for sequence in self._decoding:
            sequence.draft = self._draft(sequence)
        groups = [[sequence] for sequence in self._decoding if sequence.draft]
        return groups + self._grouping.groups(
            [sequence for sequence in self._decoding if not sequence.draft]
        )

    def _draft(self, sequence: Sequence) -> tuple[int, ...]:
        if sequence.drafter is None or self._costs is None:
            return ()
        known = len(sequence.tokens)
        room = self._lane - known
        if sequence.params.max_tokens is not None:
            room = min(room, sequence.params.max_tokens - sequence.num_generated)
        # It could ride in a batch with the others; for what must repeat with those that are expected.
        together = self._at_once if sequence.params.repeatable else len(self._decoding)
        worth = WORTH * together / self._costs.check(together)
        # The last token that fits has no row: a guess is followed by one that is drawn.
        forced = sequence.constraint.forced() if sequence.constraint is not None else ()
        return sequence.drafter.draft(sequence.tokens, room - 1, worth=worth, forced=forced)


def _still_at(group: list[Sequence]) -> list[Sequence]:
    """Those of a group that have not ended, nor begun to answer, since the round began."""
    left = [sequence for sequence in group if sequence.status is not SequenceStatus.ENDED]
    reading = [sequence for sequence in left if sequence.status is SequenceStatus.PREFILL]
    return reading or left


def _is_among(group: list[Sequence], others: list[Sequence]) -> bool:
    return all(sequence in others for sequence in group)


def _to_recall(sequence: Sequence) -> Recall | None:
    is_read = sequence.status is SequenceStatus.PREFILL and not sequence.remaining_prompt
    return Recall(sequence) if is_read else None


def _to_look_at(sequence: Sequence) -> Look | None:
    """The picture that has to be looked at before the sequence's next rows can be read."""
    if sequence.status is not SequenceStatus.PREFILL or sequence.vectors is not None:
        return None
    _, picture = sequence.stretch
    return None if picture is None else Look(sequence, picture)
