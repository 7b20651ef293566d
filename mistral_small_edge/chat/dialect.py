"""How a model is spoken to: one interface for Mistral's own format and any other template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mistral_small_edge.chat.chunks import Chunk
    from mistral_small_edge.chat.grammar import AnswerRules
    from mistral_small_edge.chat.messages import ChatRequest
    from mistral_small_edge.chat.parser import Parser


class Dialect(Protocol):
    """A prompt out of a request, and a parser for the answer; any thread may use it."""

    @property
    def family(self) -> tuple[str, ...]:
        """Names that any model of this tongue is asked for by, besides its own."""

    def render(self, request: ChatRequest) -> tuple[Chunk, ...]:
        """The prompt for the next assistant turn.

        Raises:
            InvalidRequest: the model has no way to be told this.
        """

    def begun(self, request: ChatRequest) -> str:
        """The answer's beginning, as the prompt has it, if the caller wrote one."""

    def rules(self, request: ChatRequest) -> AnswerRules | None:
        """What the answer must be; None if it is free.

        Raises:
            InvalidGrammar: what is wanted cannot be enforced.
        """

    def parser(self, request: ChatRequest) -> Parser:
        """A fresh parser for the answer to the request."""
