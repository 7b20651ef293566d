"""`chat`: a conversation in the terminal, or over plain lines when there is none.

Puts the pieces together: options, a loaded model, a way of typing, the loop.
"""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge import places
from mistral_small_edge.cli import console, options, repl_input, repl_sessions, servers, stdin
from mistral_small_edge.cli.completion import session_names
from mistral_small_edge.cli.engine_options import AnswerOptions, spelled_out
from mistral_small_edge.cli.failures import PROGRAM
from mistral_small_edge.cli.pictures import Looks
from mistral_small_edge.cli.repl import Repl
from mistral_small_edge.cli.repl_commands import State
from mistral_small_edge.cli.repl_sessions import lasting_name
from mistral_small_edge.cli.saving import Saving, begun, greeting
from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.sampling_params import SamplingParams
from mistral_small_edge.sessions import Session

if TYPE_CHECKING:
    from mistral_small_edge.llm import ChatModel

_ENGINE = AnswerOptions()
_LOOKS = Looks()
_NOTHING_SAID = Session()

Resume = Annotated[bool, typer.Option("--resume", help="Go on with the last conversation.")]
Named = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="NAME",
        help="Go on with this conversation, or begin it.",
        autocompletion=session_names,
        show_default="a new one, named by date and first words",
    ),
]
NoSave = Annotated[bool, typer.Option("--no-save", help="Keep the conversation in memory only.")]
Stats = Annotated[bool, typer.Option("--stats", help="Statistics on stderr after each answer.")]


@spelled_out
def chat(
    invocation: typer.Context,
    model: options.Model = DEFAULT_MODEL,
    server: options.Server = None,
    local: options.Local = False,
    resume: Resume = False,
    session: Named = None,
    no_save: NoSave = False,
    system: options.System = None,
    image_detail: options.ImageDetail = "auto",
    image_as_stored: options.ImageAsStored = False,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    engine: AnswerOptions = _ENGINE,
    image_cache: options.ImageCache = None,
    no_image_cache: options.NoImageCache = False,
    prompt_cache: options.PromptCache = None,
    no_prompt_cache: options.NoPromptCache = False,
    stats: Stats = False,
    verbose: options.Verbose = False,
) -> None:
    """Talk with a model.

    In a terminal: type a message, or /help. From a pipe: each line is a message, lines between
    \"\"\" are one, and only the answers go to stdout.

    A conversation in a terminal is saved as it goes, one from a pipe with --session NAME.
    """
    config = replace(
        engine.config(),
        image_cache=options.folder(image_cache, places.images, off=no_image_cache),
        prompt_cache=options.folder(prompt_cache, places.prompts, off=no_prompt_cache),
    )
    choice = options.SamplingChoice(max_tokens, temperature, top_p, seed, tuple(stop or ()))
    choice.over(SamplingParams())  # a bad value is not worth a minute of loading
    with begun(session, resume=resume, no_save=no_save, interactive=_on_terminal()) as (
        saving,
        before,
    ):
        if not options.is_typed(invocation, "model"):
            model = before.model or model
        opened = servers.open_model(
            invocation, model, config, server=server, local=local, verbose=verbose
        )
        with opened as llm:
            looks = Looks(image_detail, image_as_stored, llm.context_length, llm.vision_bytes)
            sampling = choice.over(_settings(before, llm))
            if system is not None:
                before = before.with_system(system)
            converse(llm, sampling, before, saving, looks=looks, stats=stats)


def converse(
    llm: "ChatModel",
    sampling: SamplingParams,
    session: Session = _NOTHING_SAID,
    saving: Saving | None = None,
    *,
    looks: Looks = _LOOKS,
    stats: bool = False,
) -> None:
    """Hold a conversation on this process's terminal, or on its stdin and stdout.

    Args:
        session: what to go on with.
        saving: where it is saved.

    Raises:
        EngineError: nothing more can be computed.
    """
    state = State(
        model=llm.name,
        context_length=llm.context_length,
        defaults=llm.default_sampling,
        sampling=sampling,
        conversation=session.conversation,
        unanswered=session.unanswered,
        sees=llm.sees,
        stats=stats,
    )
    if session.model and session.model != lasting_name(llm.name):
        console.note(f"The session was held with {session.model}; {llm.name} goes on with it.")
    if not _on_terminal():
        read = repl_input.plain_reader(stdin.lines())
        Repl(llm, state, looks, saving, interactive=False).run(read)
        return
    from mistral_small_edge.cli.repl_terminal import Terminal

    if session.title:
        console.note(greeting(session, saving.name if saving else ""))
    terminal = Terminal(llm.name, saving.names if saving else tuple)
    repl = Repl(llm, state, looks, saving, interactive=True)
    repl.run(terminal.read)
    if saving and saving.name and repl_sessions.session_of(repl.state).title:
        console.note(f"Saved as {saving.name}; {PROGRAM} chat --resume goes on with it.")


def _settings(session: Session, llm: "ChatModel") -> SamplingParams:
    """The session's, if they are this model's."""
    same = session.model == lasting_name(llm.name)
    return session.sampling if same and session.sampling else llm.default_sampling


def _on_terminal() -> bool:
    """Whether somebody types, and sees what is typed; the answers may go elsewhere."""
    return (
        sys.stdin is not None
        and sys.stdin.isatty()
        and (sys.stdout.isatty() or sys.stderr.isatty())
    )
