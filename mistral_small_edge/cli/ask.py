"""`ask`: one question, one answer on stdout, and nothing else there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge import places
from mistral_small_edge.cli import console, options, pictures, shapes, stdin
from mistral_small_edge.cli.answer import show, statistics
from mistral_small_edge.cli.engine_options import AnswerOptions, spelled_out
from mistral_small_edge.cli.servers import open_model
from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.chat.deltas import ChatResponse
    from mistral_small_edge.chat.messages import ChatRequest, Message
    from mistral_small_edge.llm import ChatModel

_ENGINE = AnswerOptions()

PromptCache = Annotated[
    Path | None, options.prompt_cache("in your cache folder with --system, else in memory only")
]


@spelled_out
def ask(
    invocation: typer.Context,
    prompt: Annotated[
        str | None,
        typer.Argument(help="The question; - reads it from stdin. Piped input is put before it."),
    ] = None,
    model: options.Model = DEFAULT_MODEL,
    server: options.Server = None,
    local: options.Local = False,
    system: options.System = None,
    image: options.Image = None,
    image_detail: options.ImageDetail = "auto",
    image_as_stored: options.ImageAsStored = False,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    schema: options.Schema = None,
    choice: options.Choice = None,
    tools: options.Tools = None,
    tool_choice: options.ToolChoice = None,
    engine: AnswerOptions = _ENGINE,
    image_cache: options.ImageCache = None,
    no_image_cache: options.NoImageCache = False,
    prompt_cache: PromptCache = None,
    no_prompt_cache: options.NoPromptCache = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole response as one JSON object.")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Statistics on stderr.")] = False,
    verbose: options.Verbose = False,
) -> None:
    """Answer one question.

    The answer is the only thing on stdout. Exit codes: 0 answered, 1 failed, 2 wrong usage,
    130 interrupted.
    """
    from mistral_small_edge.chat.messages import ChatRequest

    shapes.refuse_shared_stdin(prompt, schema, tools, *(image or ()))
    shaped = shapes.response_format(schema, choice)
    offered = shapes.tools(tools, tool_choice)
    shown = pictures.Looks(image_detail, image_as_stored, engine.context).open(image or ())
    asked = _question(prompt, elsewhere=(schema, tools, *(image or ())))
    prompts = places.prompts if system is not None else None  # others are rarely asked twice
    config = replace(
        engine.config(),
        image_cache=options.folder(image_cache, places.images, off=no_image_cache),
        prompt_cache=options.folder(prompt_cache, prompts, off=no_prompt_cache),
    )
    sampling = options.SamplingChoice(max_tokens, temperature, top_p, seed, tuple(stop or ()))
    request = ChatRequest(
        _conversation(system, asked, shown),
        sampling.over(SamplingParams()),  # a bad value is not worth a minute of loading
        *offered,
        response_format=shaped,
    )
    shapes.check(request)
    opened = open_model(invocation, model, config, server=server, local=local, verbose=verbose)
    with opened as llm:
        pictures.tell_memory(shown, llm.vision_bytes)
        request = replace(request, sampling=sampling.over(llm.default_sampling))
        _answer(llm, request, as_json=as_json, stats=stats)


def _answer(llm: ChatModel, request: ChatRequest, *, as_json: bool, stats: bool) -> None:
    response = show(llm.stream(request), write=not as_json)
    if as_json:
        console.write_json(response_object(response, llm.name))
    if stats:
        console.note(statistics(response))


def _conversation(
    system: str | None, question: str, shown: Sequence[pictures.Shown]
) -> tuple[Message, ...]:
    from mistral_small_edge.chat.conversation import Question
    from mistral_small_edge.chat.messages import Message

    asked = Question(question, tuple(one.image for one in shown)).message
    return (asked,) if system is None else (Message("system", system), asked)


def _question(prompt: str | None, elsewhere: Sequence[str | None]) -> str:
    """The prompt with what was piped in before it, unless it was read for one of `elsewhere`.

    Raises:
        InvalidRequest: nothing was asked.
    """
    taken = shapes.FROM_STDIN in elsewhere
    piped = "" if taken or not stdin.piped() else stdin.read_text()
    if prompt == shapes.FROM_STDIN:
        prompt = None
    # Input first: the same document with another question is a prefix that need not be read again.
    parts = [part for part in (piped.rstrip("\n"), prompt) if part]
    if not "".join(parts).strip():
        raise InvalidRequest(
            'nothing was asked: give a prompt, as in ask "Name three colours."', "PROMPT"
        )
    return "\n\n".join(parts)


def response_object(response: ChatResponse, model: str) -> dict[str, object]:
    """The response in the shape of OpenAI's chat.completion, as the server gives it."""
    from mistral_small_edge.server.wire_answer import choice_object, timings_object, usage_object

    return {
        "object": "chat.completion",
        "model": model,
        "choices": [choice_object(0, response)],
        "usage": usage_object([response.usage]),
        "timings": timings_object([(response.usage, response.timings)]),
    }
