"""The loop of a conversation: read, answer or obey, repeat.

Holds the state between lines and the rule what Ctrl-C and a refused request do to it. How lines
are typed and how answers are drawn is known elsewhere; an EngineError or ModelError is not handled
here, because there is nothing to go on with. A server or a worker is another matter: it may come back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_small_edge.chat.conversation import Conversation, Exchange, Question
from mistral_small_edge.chat.messages import ChatRequest
from mistral_small_edge.cli import (
    answer,
    attachments,
    console,
    interrupts,
    repl_commands,
    repl_sessions,
)
from mistral_small_edge.cli.failures import hint_for
from mistral_small_edge.cli.repl_sessions import Export, Load, Save, ShowLatest
from mistral_small_edge.cli.saving import greeting
from mistral_small_edge.errors import (
    ContextLengthExceeded,
    EdgeError,
    EngineLoading,
    EngineOverloaded,
    InvalidRequest,
    NoProjector,
    RequestError,
    ServerError,
    SessionError,
    WorkerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_small_edge.chat.deltas import ChatResponse
    from mistral_small_edge.cli.pictures import Looks
    from mistral_small_edge.cli.repl_commands import State
    from mistral_small_edge.cli.repl_sessions import Wish
    from mistral_small_edge.cli.saving import Saving
    from mistral_small_edge.llm import ChatModel

# What is refused now may be answered later: who computes may come back, or have room.
_PASSING = (ServerError, WorkerError, EngineOverloaded, EngineLoading)


class Repl:
    """One conversation with one model.

    `interactive` says that a person is there: Ctrl-C then stops an answer, not the program. `saving`
    None is where no conversation can be saved or loaded.
    """

    def __init__(
        self,
        llm: ChatModel,
        state: State,
        looks: Looks,
        saving: Saving | None = None,
        *,
        interactive: bool,
    ) -> None:
        self._llm = llm
        self._state = state
        self._looks = looks
        self._saving = saving
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
            except (RequestError, SessionError) as error:
                console.failure(answer.printable(str(error)), self._hint(error))
            except _PASSING as error:
                if not self._interactive:
                    raise
                console.failure(answer.printable(str(error)), self._hint(error))
            except KeyboardInterrupt:  # beside an answer: nothing is half done
                if not self._interactive:
                    raise
                console.note("")
            finally:
                self._save()

    def _take(self, text: str) -> bool:
        """Obey a command or answer a message; False to leave."""
        if not repl_commands.is_command(text):
            before = self._state.conversation
            self._answer(before, self._question(repl_commands.unescaped(text)))
            if self._state.conversation is not before:  # kept there, with their question
                self._state = replace(self._state, pictures=(), attached=())
            return True
        outcome = repl_commands.run(self._state, text)
        self._state = outcome.state
        self._show(outcome.show)
        self._attach(outcome.attach)
        if outcome.said:
            console.note(answer.printable(outcome.said))
        if outcome.wish is not None:
            console.note(answer.printable(self._grant(outcome.wish)))
        if outcome.retry:
            self._retry()
        return not outcome.leave

    def _question(self, text: str) -> Question:
        images = tuple(shown.image for shown in self._state.pictures)
        return Question(attachments.with_attached(self._state.attached, text), images)

    def _retry(self) -> None:
        """Ask what has no answer, or the last question anew; its answer stays until there is one."""
        talk = self._state.conversation
        if self._state.unanswered is not None:
            self._answer(talk, self._state.unanswered)
        elif talk.last is not None:
            self._answer(talk.shortened(), talk.last.question)

    def _show(self, files: tuple[str, ...]) -> None:
        """Keep the files' pictures for the next message: all of them, or none."""
        pictures = self._looks.open(files)
        self._state = replace(self._state, pictures=(*self._state.pictures, *pictures))

    def _attach(self, files: tuple[str, ...]) -> None:
        """The same of texts; files with pictures go the pictures' way."""
        found = attachments.read(files)
        if found.pictures and not self._state.sees:
            raise NoProjector(self._state.model)
        self._show(found.pictures)
        for text in found.texts:
            console.note(answer.printable(text.said))
        self._state = replace(self._state, attached=(*self._state.attached, *found.texts))

    def _grant(self, wish: Wish) -> str:
        """Do it; what to tell the person."""
        saving = self._saving
        if saving is None:
            raise InvalidRequest("there is no folder to keep sessions in", "command")
        match wish:
            case Save(name):
                saving.save(name, repl_sessions.session_of(self._state))
                return f"Saved as {saving.name}."
            case Load(name):
                self._save()
                session = saving.switch(name)
                self._state = repl_sessions.resumed(self._state, session)
                return greeting(session, saving.name)
            case Export():
                path = saving.export(wish, repl_sessions.session_of(self._state))
                return f"Written to {path}."
            case ShowLatest():
                return saving.latest()

    def _save(self) -> None:
        if self._saving is not None:
            self._saving.keep(repl_sessions.session_of(self._state))

    def _answer(self, conversation: Conversation, question: Question) -> None:
        """Have `question` answered after `conversation`, and keep both if there is an answer."""
        request = ChatRequest(conversation.messages(question), self._state.sampling)
        if conversation is self._state.conversation:  # not asked anew
            self._state = replace(self._state, unanswered=question)
            self._save()
        with interrupts.once():
            try:
                response = answer.show(self._llm.stream(request))
            except RequestError:
                self._state = replace(self._state, unanswered=None)
                raise
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
            self._state = replace(self._state, unanswered=None)
            waiting = (("pictures", self._state.pictures), ("texts", self._state.attached))
            kept = " and ".join(name for name, there in waiting if there)
            shown = f" The {kept} go with the next message." if kept else ""
            console.note(f"Stopped before the first word; the conversation is as before.{shown}")

    def _keep(self, conversation: Conversation) -> None:
        self._state = replace(self._state, conversation=conversation, unanswered=None)

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

    def _hint(self, error: EdgeError) -> str:
        if not isinstance(error, ContextLengthExceeded):
            return hint_for(error)
        room = f"restart with --context {error.prompt_tokens} or more."
        if self._state.conversation.exchanges:
            return f"Make room with /undo or /clear, or {room}"
        return f"Shorten the message, or {room}"
