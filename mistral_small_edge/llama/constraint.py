"""Grammars on llguidance: which tokens keep an answer derivable, and when it is done.

llguidance knows the vocabulary by its bytes and computes a mask in a fraction of a millisecond. Its
work is bounded here: a grammar that would take more is refused, or ends its answer with an error.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from mistral_small_edge.errors import InvalidGrammar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.llama.tokenizer import LlamaTokenizer

logger = logging.getLogger("mistral_small_edge.llama")

# Work for one grammar and for one token: some 20 ms and 50 ms, and 40 MB for the lexer, at most.
_LIMITS = LLParserLimits(
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=500_000,
    step_max_items=100_000,
    max_lexer_states=20_000,
    max_grammar_size=200_000,
    verbose_errors=False,
)
_LONGEST = 2_000_000  # characters of a grammar
_KEPT = 8  # compiled grammars; what their copies learn of the lexer stays with them
_SILENT = 0


def validate(source: str) -> None:
    """Say what is wrong with a grammar, as far as can be known without a vocabulary.

    Raises:
        ValueError: it can be enforced over no vocabulary; the text says why.
    """
    _refuse_longest(source)
    wrong, messages = LLMatcher.validate_grammar_with_warnings(source, limits=_LIMITS)
    if wrong:
        raise ValueError(messages[0].strip())


class GrammarCompiler:
    """Grammars over one vocabulary. To be used by one thread at a time."""

    def __init__(self, tokenizer: LlamaTokenizer) -> None:
        self._ours = tokenizer
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()

    def compile(self, source: str) -> LLMatcher:
        """A matcher at the beginning of an answer.

        Args:
            source: llguidance's own JSON form.

        Raises:
            ValueError: it is no grammar, or takes more than is granted; the text says why.
        """
        if source not in self._compiled:
            self._keep(source, self._new(source))
        self._compiled.move_to_end(source)
        return self._compiled[source].deep_copy()

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        """Made at the first grammar: it takes a second."""
        vocabulary = _Vocabulary(self._ours)
        return LLTokenizer(
            TokenizerWrapper(vocabulary), self._ours.vocab_size, eos_token=vocabulary.ends
        )

    def _new(self, source: str) -> LLMatcher:
        _refuse_longest(source)
        matcher = LLMatcher(self._tokenizer, source, log_level=_SILENT, limits=_LIMITS)
        if matcher.is_error():
            raise ValueError(_reason(matcher))
        for warning in matcher.get_grammar_warnings():
            logger.warning("a grammar is looser than it reads: %s", warning)
        return matcher

    def _keep(self, source: str, matcher: LLMatcher) -> None:
        self._compiled[source] = matcher
        if len(self._compiled) > _KEPT:
            self._compiled.popitem(last=False)


class _Vocabulary:
    """The vocabulary in the shape that llguidance's wrapper asks for."""

    def __init__(self, tokenizer: LlamaTokenizer) -> None:
        ids = range(tokenizer.vocab_size)
        names = {token: name for name, token in tokenizer.control_tokens.items()}
        self.ends = [token for token in ids if tokenizer.is_end(token)]
        self.special_token_ids = list(names)
        self.tokens = [
            names[token].encode() if token in names else tokenizer.token_bytes(token)
            for token in ids
        ]
        self.bos_token_id = None
        self.eos_token_id = self.ends[0]
        self._tokenizer = tokenizer

    def __call__(self, text: str | bytes) -> list[int]:
        known = text if isinstance(text, str) else text.decode()
        return self._tokenizer.encode(known)


class LlamaConstraint:
    """One answer's constraint: a matcher that moves along, perhaps not from the start.

    Args:
        matcher: the answer's own; None leaves its shape free.
        opened_by: the control token that the matcher begins with; free text before it. None: the
            matcher begins with the answer.
        forbidden: ids that the answer never holds.
        prose_until: the control token that ends what stop strings are looked for in.
        begun: ids of the answer's beginning, which the caller wrote.

    Raises:
        ValueError: the grammar does not allow `begun`.
    """

    def __init__(
        self,
        matcher: LLMatcher | None,
        *,
        opened_by: int | None = None,
        forbidden: tuple[int, ...] = (),
        prose_until: int | None = None,
        begun: Sequence[int] = (),
    ) -> None:
        self._matcher = matcher
        self._opened_by = opened_by
        self._open = opened_by is None
        self.forbidden = forbidden
        self.prose_until = prose_until
        if self._open and matcher is not None and begun and not matcher.consume_tokens(list(begun)):
            raise ValueError("the beginning that was given is none of an answer that it allows")

    @property
    def complete(self) -> bool:
        """Whether nothing can follow what was accepted."""
        return self._open and self._matcher is not None and self._matcher.is_stopped()

    def allowed(self) -> bytes | None:
        """A bit for each id; None allows any."""
        if not self._open or self._matcher is None:
            return None
        mask = self._matcher.compute_bitmask()
        self._refuse_excess()
        return mask

    def forced(self) -> tuple[int, ...]:
        """Tokens of what has to come next; none before the matcher begins."""
        if not self._open or self._matcher is None:
            return ()
        tokens = self._matcher.compute_ff_tokens()
        return () if self._matcher.is_error() else tuple(tokens)

    def accept(self, token: int) -> None:
        """Go on behind `token`."""
        if token == self._opened_by:
            self._open = True
        if self._open and self._matcher is not None:
            self._matcher.consume_token(token)
            self._refuse_excess()

    def _refuse_excess(self) -> None:
        assert self._matcher is not None  # noqa: S101 - both callers have looked
        if self._matcher.is_error():
            raise InvalidGrammar(_reason(self._matcher), "response_format")


def _refuse_longest(source: str) -> None:
    if len(source) > _LONGEST:
        raise ValueError(f"it has {len(source)} characters; at most {_LONGEST} are taken")


def _reason(matcher: LLMatcher) -> str:
    return matcher.get_error().strip()
