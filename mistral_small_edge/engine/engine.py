"""The crank: a step is schedule, run, update.

Holds the sequences and turns their tokens into outputs. Single-threaded: the same steps in the same
order give the same outputs, whoever turns it. What it reads and writes goes through the store that it
is given, and changes no output.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mistral_small_edge.engine.backend import Interrupted
from mistral_small_edge.engine.in_work import InWork
from mistral_small_edge.engine.outputs import FinishReason
from mistral_small_edge.engine.prefix_cache import PrefixCache
from mistral_small_edge.engine.rereading import Rereading
from mistral_small_edge.engine.sampler import Sampler, score
from mistral_small_edge.engine.scheduler import Compute, Copy, Look, Recall, Scheduler, Swap
from mistral_small_edge.engine.sequence import Sequence, SequenceStatus
from mistral_small_edge.engine.shelves import Shelves
from mistral_small_edge.engine.telling import Telling
from mistral_small_edge.engine.viewing import Viewing
from mistral_small_edge.errors import (
    ContextLengthExceeded,
    DecodeFailed,
    EdgeError,
    EncodeFailed,
    InvalidGrammar,
    InvalidRequest,
    ModelLoadFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mistral_small_edge.engine.backend import (
        Batch,
        Chunk,
        Constraint,
        DraftModel,
        Logits,
        ModelRunner,
        Tokenizer,
    )
    from mistral_small_edge.engine.calibration import StepCosts
    from mistral_small_edge.engine.gathering import Gathering
    from mistral_small_edge.engine.outputs import Output
    from mistral_small_edge.engine.passes import Passes
    from mistral_small_edge.engine.prefix_memory import PrefixMemory
    from mistral_small_edge.engine.prefix_store import PrefixStore
    from mistral_small_edge.engine.prompt import Prompt
    from mistral_small_edge.engine.sampler import Sampled
    from mistral_small_edge.images import Image
    from mistral_small_edge.sampling_params import SamplingParams


class Engine:
    """Many requests over one model.

    Args:
        prefill_chunk: the most prompt tokens computed at once; fewer on a slow machine.
        store: where prompts that were read outlive the process.
        memory: where they outlive their slots.
        costs: what wider batches take, so that guesses pay; None makes no guesses.
        draft_model: writes guesses where a text has none itself.
        gathering: has answers lie side by side in memory.
        passes: what passes of several answers take.
        at_once: answers that are expected to be written at the same time.
        prefill_seconds: what a prompt's chunk may take, about, while others are being answered.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        runner: ModelRunner,
        tokenizer: Tokenizer,
        *,
        prefill_chunk: int,
        store: PrefixStore | None = None,
        memory: PrefixMemory | None = None,
        costs: StepCosts | None = None,
        draft_model: DraftModel | None = None,
        gathering: Gathering | None = None,
        passes: Passes | None = None,
        at_once: int = 1,
        prefill_seconds: float = 1.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._runner = runner
        self._tokenizer = tokenizer
        self._clock = clock
        self.cache = PrefixCache(runner.max_sequences, runner.context_length)
        self._shelves = Shelves(runner, self.cache, store, memory)
        self.scheduler = Scheduler(
            self.cache,
            runner.row_classes,
            prefill_chunk,
            lane=runner.context_length,
            keeps_rows=runner.keeps_rows,
            costs=costs,
            draft_model=draft_model,
            gathering=gathering,
            passes=passes,
            at_once=at_once,
            prefill_seconds=prefill_seconds,
        )
        self._rereading = Rereading(runner, self.cache, self.scheduler.chunk_size.smallest)
        self._viewing = Viewing(runner, clock)
        self._in_work = InWork(runner)
        self._sequences: dict[int, Sequence] = {}
        self._telling = Telling(tokenizer)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return self.scheduler.has_work

    def check(self, prompt: Prompt, params: SamplingParams) -> None:
        """Refuse what could never be computed; reads nothing that changes, so any thread may.

        Raises:
            InvalidRequest: no prompt, a biased token that the vocabulary lacks, or a picture's
                rows, which are no tokens, to be scored.
            ContextLengthExceeded: no room for the prompt and one token of answer.
        """
        if not len(prompt):
            raise InvalidRequest("the prompt has no tokens", "messages")
        if prompt.pictures and params.prompt_logprobs is not None:
            raise InvalidRequest(
                "prompt_logprobs scores text, and the prompt has a picture", "prompt_logprobs"
            )
        if len(prompt) >= self._runner.context_length:
            raise ContextLengthExceeded(len(prompt), self._runner.context_length)
        for token in params.logit_bias:
            if not 0 <= token < self._tokenizer.vocab_size:
                raise InvalidRequest(
                    f"logit_bias names token {token}; "
                    f"the vocabulary has {self._tokenizer.vocab_size}",
                    "logit_bias",
                )

    def add(
        self,
        request: int,
        prompt: Prompt,
        params: SamplingParams,
        constraint: Constraint | None = None,
        *,
        speculate: bool = True,
    ) -> None:
        """Queue a request that `check` has passed; `request` is a number not in use.

        The constraint is the request's own from now on.
        """
        sequence = Sequence(request, prompt, params, self._clock(), constraint, speculate)
        self._sequences[request] = sequence
        self.scheduler.add(sequence)

    def abort(self, request: int) -> None:
        """End a request without a word; one that has ended already is left alone."""
        sequence = self._sequences.get(request)
        if sequence is not None:
            self._end(sequence)

    def give_up(self, requests: Iterable[int]) -> None:
        """Do not finish the batch in work if it is for nobody but these, which are to be aborted.

        Any thread may call it.
        """
        self._in_work.give_up(requests)

    def step(self) -> list[tuple[int, Output]]:
        """Begin what has come in, or else do one piece of work; what it yielded, by request."""
        self._telling.new_step()
        for sequence in self.scheduler.admit():
            self._begin(sequence)
        if self._telling.outputs:  # say that a prompt has begun before its first chunk is computed
            return self._telling.outputs
        match self.scheduler.schedule():
            case Compute(batch, sequences):
                self._compute(batch, sequences)
            case Copy() as copy:
                self._copy(copy)
            case Recall(sequence):
                self._recall(sequence)
            case Swap() as swap:
                self._swap(swap)
            case Look(sequence, picture):
                self._look(sequence, picture.image)
        return self._telling.outputs

    def read_again(self) -> bool:
        """Use a moment without work for the next turn of a conversation; whether there is more to do.

        Changes no output, and holds up whoever asks meanwhile by one small chunk.
        """
        with self._in_work.of(()):
            return self._rereading.step()

    def keep(self, *, closing: bool = False) -> bool:
        """Have what slots hold outlive the process; as `Shelves.keep`."""
        return self._shelves.keep(closing=closing)

    def close(self) -> None:
        """Give up what is under way; the engine is not used again. Idempotent."""
        self._viewing.stop()
        self._shelves.close()

    def _compute(self, batch: Batch, sequences: tuple[Sequence, ...]) -> None:
        try:
            with self._in_work.of(sequence.request for sequence in sequences):
                rows = self._run(batch)
        except Interrupted:
            return  # it was for those who are about to be aborted
        except DecodeFailed as error:
            self._lose({chunk.slot for chunk in batch}, error)
        else:
            self._update([chunk for chunk in batch if chunk.tokens], sequences, rows)

    def _lose(self, slots: set[int], error: DecodeFailed) -> None:
        """Empty slots that nothing is known of any more, whoever has them, or nobody."""
        for slot in slots:
            self._runner.truncate(slot, 0)
        for sequence in list(self._sequences.values()):
            if sequence.slot in slots:
                self._fail(sequence, error, rows_valid=False)
        for slot in slots:
            self.cache.forget(slot)

    def _run(self, batch: Batch) -> Iterator[int]:
        begun = self._clock()
        rows = self._runner.run(batch)
        computed = [len(chunk.tokens) + chunk.padding for chunk in batch]
        if computed[0] > 1:  # of prompts, or a guess; an answer's few rows are too short to tell
            self.scheduler.chunk_size.measured(sum(computed), self._clock() - begun)
        return iter(rows)

    def _copy(self, copy: Copy) -> None:
        sequence, found = copy.sequence, copy.found
        try:
            self._runner.copy(found.slot, sequence.slot, found.num_cached)
        except DecodeFailed as error:
            self._runner.truncate(sequence.slot, 0)
            self._fail(sequence, error, rows_valid=False)
            return
        self.scheduler.copied(copy)
        self._telling.progress(sequence)
        self._viewing.stop_if_unwanted(self._sequences.values())

    def _swap(self, swap: Swap) -> None:
        """Have a sequence and what a free slot holds change places; if that fails, it stays."""
        sequence = swap.sequence
        if self._shelves.swap(sequence.slot, sequence.num_computed, swap.slot, swap.rows):
            sequence.slot = swap.slot
        else:
            self.scheduler.leave_in_place()

    def _restore(self, sequence: Sequence) -> None:
        """Put back what was read of the prompt, in this process or one before, if no slot has it."""
        reuse = self.scheduler.reuse(sequence)
        here = self.cache.donor(sequence.slot, reuse)
        most = max(sequence.num_cached, here.num_cached if here is not None else 0)
        found = self._shelves.find(sequence.tokens, most, reuse)
        if found is None:
            return
        state, rows = found
        try:
            self._runner.restore(sequence.slot, state, rows.num_cached)
        except DecodeFailed:  # it is whole, and no state of this runner all the same
            self._runner.truncate(sequence.slot, 0)
            self.scheduler.lost(sequence)
        else:
            self.scheduler.copied(Copy(sequence, rows))

    def _look(self, sequence: Sequence, image: Image) -> None:
        try:
            done = self._viewing.step(sequence, image)
        except (EncodeFailed, ModelLoadFailed) as error:
            self._fail(sequence, error, rows_valid=True)
            return
        if done is not None:
            self._telling.looking(sequence, done)

    def _begin(self, sequence: Sequence) -> None:
        sequence.started = self._clock()
        self._shelves.set_aside(sequence.slot)
        self._runner.truncate(sequence.slot, sequence.num_cached)
        self._restore(sequence)
        sequence.sampler = Sampler(
            self._tokenizer.vocab_size,
            sequence.params,
            sequence.prompt.tokens,
            sequence.constraint,
        )
        self._telling.progress(sequence)

    def _update(
        self, chunks: list[Chunk], sequences: tuple[Sequence, ...], rows: Iterator[int]
    ) -> None:
        for sequence, chunk in zip(sequences, chunks, strict=True):
            prefill = sequence.status is SequenceStatus.PREFILL
            self.scheduler.computed(sequence, chunk)
            if prefill:
                self._telling.progress(sequence)
            if chunk.score:
                self._score(sequence, chunk)
            if chunk.sample:
                row = next(rows)
                if prefill:
                    self._remember(sequence, row)
                self._sample(sequence, chunk, row)

    def _remember(self, sequence: Sequence, row: int) -> None:
        """Keep what the model makes of a prompt that has been read."""
        exact = sequence.num_exact == sequence.num_computed
        logits = self._runner.logits(row).copy()
        self.scheduler.prompt_logits.keep(sequence.digest, logits, exact=exact)

    def _recall(self, sequence: Sequence) -> None:
        """Begin an answer to what was asked before."""
        assert sequence.known is not None  # noqa: S101 - nothing else has its prompt all there
        self.scheduler.answers(sequence)
        self._draw(sequence, sequence.known)

    def _score(self, sequence: Sequence, chunk: Chunk) -> None:
        top = sequence.params.prompt_logprobs or 0
        following = sequence.prompt.tokens[chunk.start + 1 : chunk.start + 1 + len(chunk.tokens)]
        scores = (
            score(self._runner.logits(row), token, top) for row, token in enumerate(following)
        )
        self._telling.prompt_scores(sequence, scores)

    def _sample(self, sequence: Sequence, chunk: Chunk, row: int) -> None:
        """Draw the next token, and behind each one that was guessed right another."""
        drafted = chunk.tokens[len(chunk.tokens) - chunk.drafted :]
        accepted = 0
        if sequence.drafter is not None:
            sequence.drafter.drafted += len(drafted)
        token = self._draw(sequence, self._runner.logits(row))
        while accepted < len(drafted) and token == drafted[accepted]:
            accepted += 1
            self.scheduler.guessed(sequence)
            token = self._draw(sequence, self._runner.logits(row + accepted))
        if accepted < len(drafted):
            self._runner.truncate(
                sequence.slot, chunk.start + len(chunk.tokens) - len(drafted) + accepted
            )
        if drafted and sequence.drafter is not None:
            sequence.drafter.learn(len(drafted), accepted)

    def _draw(self, sequence: Sequence, logits: Logits) -> int | None:
        """Take the next token as its sampler draws it; None if the sequence has ended with it."""
        assert sequence.sampler is not None  # noqa: S101 - set by _begin, before anything else
        try:
            sampled = sequence.sampler.sample(logits)
        except InvalidGrammar as error:
            self._fail(sequence, error, rows_valid=True)
            return None
        if not sequence.num_generated:
            sequence.answered = self._clock()
        is_end = self._tokenizer.is_end(sampled.token)
        if self._tokenizer.is_control(sampled.token) and not is_end:
            self._append_control(sequence, sampled)
        else:
            piece = b"" if is_end else self._tokenizer.token_bytes(sampled.token)
            self._telling.text(sequence, sequence.append(sampled, piece))
        ended = sampled.complete or (is_end and not sequence.params.ignore_eos)
        reason = FinishReason.STOP if ended else self._reason_to_finish(sequence)
        if reason is None:
            return sampled.token
        self._telling.text(sequence, sequence.text.finish())
        self._finish(sequence, reason)
        return None

    def _append_control(self, sequence: Sequence, sampled: Sampled) -> None:
        self._telling.text(sequence, sequence.append_control(sampled.token))
        if not sequence.text.stopped:  # by the text that was held back
            self._telling.control(sequence, sampled)

    def _reason_to_finish(self, sequence: Sequence) -> FinishReason | None:
        if sequence.text.stopped:
            return FinishReason.STOP
        if sequence.num_generated == sequence.params.max_tokens:
            return FinishReason.LENGTH
        # The last token has no row and needs none: nothing is computed after it.
        if len(sequence.tokens) >= self._runner.context_length:
            return FinishReason.LENGTH
        return None

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        self._telling.finished(sequence, reason, self._clock())
        self._end(sequence)

    def _fail(self, sequence: Sequence, error: EdgeError, *, rows_valid: bool) -> None:
        self._telling.failed(sequence, error)
        self._end(sequence, rows_valid=rows_valid)

    def _end(self, sequence: Sequence, *, rows_valid: bool = True) -> None:
        self.scheduler.end(sequence, rows_valid=rows_valid)
        del self._sequences[sequence.request]
        self._viewing.stop_if_unwanted(self._sequences.values())
