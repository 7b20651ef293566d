"""The loop of a conversation: read, answer or obey, repeat.

Holds the state between lines and the rule what Ctrl-C and a refused request do to it. How lines
are typed and how answers are drawn is known elsewhere; an EngineError or ModelError is not handled
here, because there is nothing to go on with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_small_edge.chat.messages import ChatRequest
from mistral_small_edge.cli import answer, console, interrupts, repl_commands
from mistral_small_edge.cli.conversation import Conversation, Exchange, Question
from mistral_small_edge.cli.failures import hint_for
from mistral_small_edge.errors import ContextLengthExceeded, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.chat.deltas import ChatResponse
    from mistral_small_edge.cli.pictures import Looks
    from mistral_small_edge.cli.repl_commands import State
    from mistral_small_edge.llm import LLM


class Repl:
    """One conversation with one model.

    `interactive` says that a person is there: Ctrl-C then stops an answer, not the program.
    """

    def __init__(self, llm: LLM, state: State, looks: Looks, *, interactive: bool) -> None:
        self._llm = llm
        self._state = state
        self._looks = looks
        self._interactive = interactive

    @property
    def state(self) -> State:
        """As the last line left it."""
        return self._state

    def run(self, read: Callable[[], str | None]) -> None:
        """Take messages from `read` until it returns None, or /exit.

        Raises:
            EngineError: nothing more can be computed.
        """
        while (text := read()) is not None:
            if not text:
                continue
            try:
                if not self._take(text):
                    return
            except RequestError as error:
                console.failure(answer.printable(str(error)), self._hint(error))
            except KeyboardInterrupt:  # beside an answer: nothing is half done
                if not self._interactive:
                    raise
                console.note("")

    def _take(self, text: str) -> bool:
        """Obey a command or answer a message; False to leave."""
        if not repl_commands.is_command(text):
            images = tuple(shown.image for shown in self._state.pictures)
            before = self._state.conversation
            self._answer(before, Question(repl_commands.unescaped(text), images))
            if self._state.conversation is not before:  # kept there, with their question
                self._state = replace(self._state, pictures=())
            return True
        outcome = repl_commands.run(self._state, text)
        self._state = outcome.state
        self._show(outcome.show)
        if outcome.said:
            console.note(answer.printable(outcome.said))
        if outcome.retry and (last := self._state.conversation.last):
            self._answer(self._state.conversation.shortened(), last.question)
        return not outcome.leave

    def _show(self, files: tuple[str, ...]) -> None:
        """Keep the files' pictures for the next message: all of them, or none."""
        pictures = self._looks.open(files)
        self._state = replace(self._state, pictures=(*self._state.pictures, *pictures))

    def _answer(self, conversation: Conversation, question: Question) -> None:
        """Have `question` answered after `conversation`, and keep both if there is an answer."""
        request = ChatRequest(conversation.messages(question), self._state.sampling)
        with interrupts.once():
            try:
                response = answer.show(self._llm.stream(request))
            except answer.AnswerStopped as stopped:
                if not self._interactive:
                    raise
                self._stopped(conversation, question, stopped.text)
            else:
                tokens = response.usage.prompt_tokens + response.usage.completion_tokens
                self._keep(conversation.extended(Exchange(question, response.text, tokens)))
                self._remark(response)

    def _stopped(self, conversation: Conversation, question: Question, text: str) -> None:
        if text:
            self._keep(conversation.extended(Exchange(question, text)))
            console.note("Stopped; what was written stays in the conversation.")
        else:
            shown = " The pictures go with the next message." if question.images else ""
            console.note(f"Stopped before the first word; the conversation is as before.{shown}")

    def _keep(self, conversation: Conversation) -> None:
        self._state = replace(self._state, conversation=conversation)

    def _remark(self, response: ChatResponse) -> None:
        if response.finish_reason == "length":
            console.note(self._why_cut(response))
        if self._state.stats:
            console.note(answer.statistics(response))

    def _why_cut(self, response: ChatResponse) -> str:
        most = self._state.sampling.max_tokens
        if most is not None and response.usage.completion_tokens >= most:
            return f"Cut after {most} tokens (/set max_tokens changes that)."
        return (
            f"Cut because the context of {self._state.context_length} tokens is full; "
            "/undo or /clear makes room."
        )

    def _hint(self, error: RequestError) -> str:
        if not isinstance(error, ContextLengthExceeded):
            return hint_for(error)
        room = f"restart with --context {error.prompt_tokens} or more."
        if self._state.conversation.exchanges:
            return f"Make room with /undo or /clear, or {room}"
        return f"Shorten the message, or {room}"
