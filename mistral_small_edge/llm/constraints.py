"""Where what an answer must be becomes what may be chosen: chat's rules, llama's constraint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_small_edge.chat.call_grammar import call_rules
from mistral_small_edge.errors import InvalidGrammar, InvalidRequest
from mistral_small_edge.llama.constraint import GrammarCompiler, LlamaConstraint, validate

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from mistral_small_edge.chat.chunks import Control
    from mistral_small_edge.chat.grammar import AnswerRules, Grammar
    from mistral_small_edge.chat.messages import ChatRequest
    from mistral_small_edge.llama.tokenizer import LlamaTokenizer


def check_shapes(request: ChatRequest) -> None:
    """Refuse a response format or a tool that no model could be held to, before one is loaded.

    Raises:
        InvalidGrammar: it names the part and the keyword.
    """
    rules = call_rules(request)
    if rules is not None and rules.grammar is not None:
        _refuse_parts(rules.grammar)


class Constraints:
    """Makes a constraint for each answer of one model. To be used by one thread at a time."""

    def __init__(self, tokenizer: LlamaTokenizer) -> None:
        self._compiler = GrammarCompiler(tokenizer)
        self._tokenizer = tokenizer

    def new(self, rules: AnswerRules, begun: str) -> LlamaConstraint:
        """A constraint for an answer that begins with `begun`.

        Raises:
            InvalidGrammar: a part of the rules cannot be enforced; it is named.
            InvalidRequest: the rules allow no answer with that beginning.
        """
        try:
            return LlamaConstraint(
                self._matcher(rules.grammar) if rules.grammar else None,
                opened_by=self._id(rules.opened_by),
                forbidden=tuple(self._ids[control.name] for control in rules.forbidden),
                prose_until=self._id(rules.prose_until),
                begun=self._tokenizer.encode(begun),
            )
        except ValueError as error:
            raise InvalidRequest(
                f"the last message, from the assistant, cannot be continued: {error}", "messages"
            ) from None

    def _matcher(self, grammar: Grammar) -> LLMatcher:
        try:
            return self._compiler.compile(grammar.source(self._ids))
        except ValueError as error:
            # The compiler saw one text: which part it stumbled over shows when each is alone.
            _refuse_parts(grammar)
            raise InvalidGrammar(str(error), grammar.parts[0].param) from None

    @property
    def _ids(self) -> dict[str, int]:
        return self._tokenizer.control_tokens

    def _id(self, control: Control | None) -> int | None:
        return None if control is None else self._ids[control.name]


def _refuse_parts(grammar: Grammar) -> None:
    for part in grammar.parts:
        try:
            validate(part.source())
        except ValueError as error:
            raise InvalidGrammar(f"{part.title} cannot be enforced: {error}", part.param) from None
