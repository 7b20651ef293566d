"""`worker`: this machine's memory and cores, lent to a model on another one."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge import places
from mistral_small_edge.cli import console, failures, interrupts, options
from mistral_small_edge.cli.loading import route_log
from mistral_small_edge.errors import InvalidRequest, readable_size
from mistral_small_edge.images.addresses import is_loopback
from mistral_small_edge.workers.address import DEFAULT_PORT

if TYPE_CHECKING:
    from mistral_small_edge.lending import Event, Offer, Reach, Tensors
    from mistral_small_edge.workers import WorkerAddress

LOOPBACK = "127.0.0.1"

Listen = Annotated[str, typer.Option("--host", help="The IPv4 address to listen on.")]
Port = Annotated[int, typer.Option(help="0 takes any that is free.")]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Lend no more than that, as 6GB.", show_default="all that is free"
    ),
]
Cache = Annotated[
    bool,
    typer.Option(
        "--cache", help="Keep what is sent in your cache folder, so that it is not sent again."
    ),
]
CacheDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep it there instead.", show_default="none")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Listen where anybody on the internet may come.")
]


def worker(
    host: Listen = LOOPBACK,
    port: Port = DEFAULT_PORT,
    threads: options.Threads = None,
    memory: Memory = None,
    cache: Cache = False,
    cache_dir: CacheDir = None,
    insecure: Insecure = False,
    verbose: options.Verbose = False,
) -> None:
    """Lend memory and cores to a model on another machine, through ggml's RPC.

    That machine names this one with --worker. One at a time is served. Nobody is asked who they are:
    listen on 127.0.0.1, and let the other machine come through a tunnel. Ctrl-C or SIGTERM ends it.
    """
    from mistral_small_edge.host import choose_threads, probe_host
    from mistral_small_edge.lending import Offer, bound, lend, listen_at, reach_of

    here = probe_host()
    at_most = options.bytes_of(memory, "--memory")
    team = _threads(threads) or choose_threads(here)
    address = listen_at(host, port)
    _warn(address, reach_of(address.host), insecure=insecure)
    offer = Offer(address=bound(address), threads=team, memory=at_most)
    route_log(verbose)
    with ExitStack() as held:
        stop = held.enter_context(interrupts.asked_to_stop())
        tensors = _tensors(cache, cache_dir, offer.memory or here.total_memory)
        if tensors is not None:
            held.enter_context(tensors)
        lend(offer, tensors, lambda event: _tell(event, offer), stop)


def _threads(given: int | None) -> int | None:
    if given is not None and given < 1:
        raise InvalidRequest(f"--threads is {given}; it must be at least 1", "--threads")
    return given


def _tensors(cache: bool, cache_dir: Path | None, most: int) -> Tensors | None:
    """Where they are kept: never more than can be lent at once."""
    from mistral_small_edge.lending import Tensors

    folder = cache_dir
    if cache and cache_dir is None:
        try:
            folder = places.tensors()
        except OSError:
            raise InvalidRequest(
                "there is no home to keep tensors in: give --cache-dir", "--cache"
            ) from None
    return None if folder is None else Tensors(folder, most)


def _warn(address: WorkerAddress, reach: Reach, *, insecure: bool) -> None:
    from mistral_small_edge.lending import Reach

    if reach is Reach.INTERNET and not insecure:
        raise InvalidRequest(
            f"{address.host} can be reached from the internet, and ggml's RPC asks nobody who they are: "
            "listen on 127.0.0.1 behind a tunnel, or insist with --insecure",
            "--host",
        )
    if reach is not Reach.MACHINE:
        who = "whoever is on this machine's networks" if reach is Reach.NETWORK else "anybody"
        console.note(
            f"warning: {who} can read and overwrite what is lent and may run programs as you: "
            "ggml's RPC knows neither keys nor encryption"
        )


def _tell(event: Event, offer: Offer) -> None:
    from mistral_small_edge import lending

    match event:
        case lending.Checking(size):
            console.note(f"checking {readable_size(size)} of tensors that were kept")
        case lending.Listening(lent, again):
            console.note(_ready(offer, None if lent is None else lent.free))
            if not again:
                console.note(_how(offer.address))
        case lending.Came(host):
            console.note(f"{host or 'a client'} uses it")
        case lending.Gone(seconds):
            console.note(f"free again, after {_duration(seconds)}")
        case lending.CacheClosed():
            console.note("there is no room for more tensors: none are kept or found for now")
        case lending.Died(reason, pause):
            console.note(f"ggml's server: {reason}; starting it again in {pause:g} s")


def _ready(offer: Offer, free: int | None) -> str:
    memory = "memory" if free is None else f"{readable_size(free)} of memory"
    return f"{offer.address}  lends {memory} and {offer.threads} thread{'s' * (offer.threads > 1)}"


def _how(address: WorkerAddress) -> str:
    """What to type on the other machine."""
    name = socket.gethostname()
    host = name if address.host == "0.0.0.0" else address.host  # noqa: S104 - named, not bound
    command = f"{failures.PROGRAM} chat --worker {host}:{address.port}"
    if is_loopback(host):
        return f"  on the other machine: ssh -N -L {address.port}:{address} {name} & {command}"
    return f"  on the other machine: {command}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {seconds} s"
        if minutes
        else f"{seconds} s"
    )
