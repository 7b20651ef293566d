"""Whose model a command asks: that of a server it is told of, of one that runs here already, or its own.

A model that a server of this user has in memory is not loaded a second time. But an option on the command
line that is about loading has the model loaded here: none is passed over.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import fields
from typing import TYPE_CHECKING

from mistral_small_edge import places
from mistral_small_edge.cli import console, loading, options
from mistral_small_edge.cli.engine_options import AnswerOptions
from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.errors import EdgeError, InvalidRequest, ModelNotFound

if TYPE_CHECKING:
    import typer

    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.llm import ChatModel, RemoteLLM
    from mistral_small_edge.running import RunningServer

_CACHES = ("image_cache", "no_image_cache", "prompt_cache", "no_prompt_cache")
# Parameters of commands. How much context there has to be can be asked of a server, too.
_ABOUT_LOADING = (
    *(field.name for field in fields(AnswerOptions) if field.name != "context"),
    *_CACHES,
    "verbose",
)


def open_model(
    invocation: typer.Context,
    model: str,
    config: EngineConfig,
    *,
    server: str | None,
    local: bool,
    verbose: bool,
) -> ChatModel:
    """The model to ask.

    Args:
        server: the address of one, from the command line or the environment.
        local: whether it is to be loaded here, whatever servers there are.

    Raises:
        InvalidRequest: options that contradict each other, or ask for more than the server has.
        ModelNotFound: the server has another model.
        ServerError: the server that was named cannot be asked.
        What `loading.load` raises.
    """
    about_loading = [name for name in _ABOUT_LOADING if options.is_typed(invocation, name)]
    if server is not None and options.is_typed(invocation, "server"):
        _refuse_beside_server(["local"] if local else about_loading)
    if server is None:
        model = loading.settle(model, config)
    if not local and not about_loading:
        found = (
            _running(model, config.context_length)
            if server is None
            else _named(server, model, config.context_length)
        )
        if found is not None:
            return found
    return loading.load(model, config, verbose)


def _refuse_beside_server(names: list[str]) -> None:
    for name in names:
        option = f"--{name.replace('_', '-')}"
        raise InvalidRequest(
            f"{option} is about a model that is loaded here, and --server names one elsewhere",
            option,
        )


def _named(url: str, model: str, context: int | None) -> RemoteLLM:
    from mistral_small_edge.llm import RemoteLLM

    with ExitStack() as held:
        llm = held.enter_context(RemoteLLM.connect(url, api_key=_key()))
        _check(llm, model, context)
        held.pop_all()
        return llm


def _check(llm: RemoteLLM, model: str, context: int | None) -> None:
    known = [name.lower() for name in llm.names]
    if model != DEFAULT_MODEL and model.lower() not in known:
        raise ModelNotFound(model, llm.names)
    if context is not None and context > llm.context_length:
        raise InvalidRequest(
            f"--context is {context}, and the server's model has {llm.context_length}", "--context"
        )


def _running(model: str, context: int | None) -> RemoteLLM | None:
    """A server here that has in memory what would be loaded, and can do what that could."""
    from mistral_small_edge.running import running_servers
    from mistral_small_edge.store.catalog import resolve, resolve_projector

    try:
        servers = running_servers(places.servers())
        file = resolve(model)
        sees = resolve_projector(model) is not None
    except (OSError, EdgeError):  # what is wrong with the model is said where it is loaded
        return None
    path = str(file.path.resolve())
    for server in servers:
        llm = _connected(server) if server.model == path else None
        if llm is None:
            continue
        if (context or 0) <= llm.context_length and (llm.sees or not sees):
            llm.name = file.name  # what is saved with a conversation has to mean the file
            console.note(f"Using the server at {llm.url} (--local loads the model here instead).")
            return llm
        llm.close()
    return None


def _connected(server: RunningServer) -> RemoteLLM | None:
    from mistral_small_edge.llm import RemoteLLM

    key = _key() if server.has_key else None  # who asks for none is told of none
    if server.has_key and key is None:
        return None
    try:
        return RemoteLLM.connect(server.url, api_key=key)
    except EdgeError:  # another key, or it is ending: nobody has asked for this server
        return None


def _key() -> str | None:
    """The first of the keys that `serve` would take from there."""
    keys = os.environ.get(options.API_KEY_VARIABLE, "").split()
    return keys[0] if keys else None
