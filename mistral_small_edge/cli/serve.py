"""`serve`: the model behind OpenAI's HTTP interface, on this machine."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge import places
from mistral_small_edge.cli import console, failures, options
from mistral_small_edge.cli.engine_options import AnswerOptions, spelled_out
from mistral_small_edge.cli.loading import elsewhere, route_log, settle, tell_of_interruptions
from mistral_small_edge.config import DEFAULT_MODEL, ServerConfig
from mistral_small_edge.errors import EdgeError, InvalidRequest, readable_size
from mistral_small_edge.images.addresses import is_loopback

if TYPE_CHECKING:
    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.llm import LLM

_ENGINE = AnswerOptions()
_SERVER = ServerConfig()
_LOOKING_SECONDS = 1.0  # at a file, before it is read; workers may take longer to be found


Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="0 takes any that is free.")]
ApiKey = Annotated[
    list[str] | None,
    typer.Option(
        envvar="MISTRAL_SMALL_EDGE_API_KEY",
        help="A key that clients must send; several may be given.",
        show_default="none",
    ),
]
ApiKeyFile = Annotated[Path | None, typer.Option(help="Keys, one a line.", show_default="none")]
NoAuth = Annotated[
    bool, typer.Option("--no-auth", help="Let anyone in who reaches an address of yours.")
]
Cors = Annotated[
    list[str] | None,
    typer.Option(
        help="A web page's origin that may call, as https://example.org.", show_default="none"
    ),
]
MaxQueue = Annotated[int, typer.Option(help="Requests that may wait for a slot.")]
RequestTimeout = Annotated[
    float | None, typer.Option(help="Seconds an answer may take.", show_default="no bound")
]
Lenient = Annotated[
    bool, typer.Option("--lenient", help="Pass over fields that are not known, and say so.")
]
ImageUrls = Annotated[
    bool,
    typer.Option(
        "--allow-image-urls",
        help="Fetch pictures from public http(s) addresses that clients name; without it they "
        "send them along.",
    ),
]
# What a server reads is other people's: nothing of it is written unless its owner says where.
ImageCache = Annotated[Path | None, options.image_cache("in memory only")]
PromptCache = Annotated[Path | None, options.prompt_cache("in memory only")]
PromptMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory for prompts that have lost their slot to others, as 2GB; 0 keeps none.",
        show_default="a quarter of what is free, 8GB at most",
    ),
]


@spelled_out
def serve(
    model: options.Model = DEFAULT_MODEL,
    host: Host = _SERVER.host,
    port: Port = _SERVER.port,
    api_key: ApiKey = None,
    api_key_file: ApiKeyFile = None,
    no_auth: NoAuth = False,
    cors: Cors = None,
    alias: options.Alias = None,
    slots: options.Slots = options.SLOTS,
    at_once: options.AtOnce = 1,
    max_queue: MaxQueue = _SERVER.max_queue,
    request_timeout: RequestTimeout = _SERVER.request_timeout,
    lenient: Lenient = _SERVER.lenient,
    allow_image_urls: ImageUrls = _SERVER.image_urls,
    engine: AnswerOptions = _ENGINE,
    image_cache: ImageCache = None,
    prompt_cache: PromptCache = None,
    prompt_memory: PromptMemory = None,
    verbose: options.Verbose = False,
) -> None:
    """Serve a model to programs that speak OpenAI's HTTP interface.

    Ctrl-C or SIGTERM lets running answers finish, a second one does not.
    """
    keys = (*(api_key or ()), *_keys(api_key_file))
    if not keys and not no_auth and not is_loopback(host):
        raise InvalidRequest(
            f"{host} can be reached from elsewhere: give --api-key, or insist with --no-auth",
            "--host",
        )
    config = ServerConfig(
        host=host,
        port=port,
        api_keys=keys,
        origins=tuple(cors or ()),
        aliases=tuple(alias or ()),
        max_queue=max_queue,
        request_timeout=request_timeout,
        lenient=lenient,
        image_urls=allow_image_urls,
    )
    computing = replace(
        engine.config(),
        max_sequences=slots,
        at_once=at_once,
        image_cache=image_cache,
        prompt_cache=prompt_cache,
        prompt_memory=_prompt_memory(prompt_memory),
    )

    route_log(verbose)
    if not verbose:  # or the log says it
        tell_of_interruptions()
    _run(model, computing, config)


def _prompt_memory(size: str | None) -> int | None:
    return 0 if size == "0" else options.bytes_of(size, "--prompt-memory")


def _run(model: str, engine: EngineConfig, config: ServerConfig) -> None:
    from mistral_small_edge.server.listening import bind, url_of
    from mistral_small_edge.server.loading import Loading
    from mistral_small_edge.store.catalog import resolve

    model = settle(model, engine)
    file = resolve(model)  # a name that means nothing is not worth a server
    with bind(config.host, config.port) as listening, ExitStack() as held:
        url = url_of(listening)
        console.note(f"{url}  loading {model}")

        def tell(end: LLM | EdgeError) -> None:
            if isinstance(end, EdgeError):
                console.failure(str(end), failures.hint_for(end))
            else:
                _announce(held, url, file.path, has_key=bool(config.api_keys))
                console.note(_ready(end, url, engine.max_sequences, bool(config.api_keys)))

        loading = Loading(model, engine, tell)
        try:
            loading.is_reading.wait(_LOOKING_SECONDS)  # or these imports hold it up
            from mistral_small_edge.server.app import create_app
            from mistral_small_edge.server.run import new_server

            app = create_app(loading.future, engine.max_sequences, config)
            new_server(app, config).run(sockets=[listening])
        finally:
            loading.stop()


def _announce(held: ExitStack, url: str, model: Path, *, has_key: bool) -> None:
    """Have this user's other commands find the server, if there is a place to note it."""
    from mistral_small_edge.running import RunningServer, announced

    server = RunningServer.this_process(url, model, has_key=has_key)
    with suppress(OSError):
        held.enter_context(announced(server, places.servers()))


def _ready(llm: LLM, url: str, slots: int, has_key: bool) -> str:
    key = ' -H "Authorization: Bearer $MISTRAL_SMALL_EDGE_API_KEY"' if has_key else ""
    name = llm.names[0]
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return (
        f"{url}  ready: {name}, {slots} slots of {llm.context_length} tokens, "
        f"{readable_size(llm.memory.total)} planned, {'text and images' if llm.sees else 'text'}"
        f"{elsewhere(llm)}\n"
        f"  curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'"
    )


def _keys(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidRequest(f"{path} cannot be read: {reason}", "--api-key-file") from None
    keys = [line.strip() for line in lines if line.strip()]
    if not keys:
        raise InvalidRequest(f"{path} holds no key", "--api-key-file")
    return keys
