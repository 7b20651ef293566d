"""`chat`: a conversation in the terminal, or over plain lines when there is none.

Puts the pieces together: options, a loaded model, a way of typing, the loop.
"""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge import places
from mistral_small_edge.cli import loading, options, repl_input, stdin
from mistral_small_edge.cli.conversation import Conversation
from mistral_small_edge.cli.engine_options import AnswerOptions, spelled_out
from mistral_small_edge.cli.pictures import Looks
from mistral_small_edge.cli.repl import Repl
from mistral_small_edge.cli.repl_commands import State
from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from mistral_small_edge.llm import LLM

_ENGINE = AnswerOptions()
_LOOKS = Looks()

Stats = Annotated[bool, typer.Option("--stats", help="Statistics on stderr after each answer.")]


@spelled_out
def chat(
    model: options.Model = DEFAULT_MODEL,
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
    """
    config = replace(
        engine.config(),
        image_cache=options.folder(image_cache, places.images, off=no_image_cache),
        prompt_cache=options.folder(prompt_cache, places.prompts, off=no_prompt_cache),
    )
    choice = options.SamplingChoice(max_tokens, temperature, top_p, seed, tuple(stop or ()))
    choice.over(SamplingParams())  # a bad value is not worth a minute of loading
    with loading.load(model, config, verbose) as llm:
        looks = Looks(image_detail, image_as_stored, llm.context_length, llm.memory.vision)
        sampling = choice.over(llm.default_sampling)
        converse(llm, sampling, system=system or "", looks=looks, stats=stats)


def converse(
    llm: "LLM",
    sampling: SamplingParams,
    *,
    system: str = "",
    looks: Looks = _LOOKS,
    stats: bool = False,
) -> None:
    """Hold a conversation on this process's terminal, or on its stdin and stdout.

    Raises:
        EngineError: nothing more can be computed.
    """
    state = State(
        model=llm.name,
        context_length=llm.context_length,
        defaults=llm.default_sampling,
        sampling=sampling,
        conversation=Conversation(system),
        sees=llm.sees,
        stats=stats,
    )
    if not _on_terminal():
        read = repl_input.plain_reader(stdin.lines())
        Repl(llm, state, looks, interactive=False).run(read)
        return
    from mistral_small_edge.cli.repl_terminal import Terminal

    Repl(llm, state, looks, interactive=True).run(Terminal(llm.name).read)


def _on_terminal() -> bool:
    """Whether somebody types, and sees what is typed; the answers may go elsewhere."""
    return (
        sys.stdin is not None
        and sys.stdin.isatty()
        and (sys.stdout.isatty() or sys.stderr.isatty())
    )
