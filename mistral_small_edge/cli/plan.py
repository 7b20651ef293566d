"""`plan`: what runs on this machine, or on another one, before anything is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli import console
from mistral_small_edge.cli.completion import machine_names, model_names
from mistral_small_edge.cli.options import WorkerFile, Workers, chosen_workers
from mistral_small_edge.config import DEFAULT_MODEL, KVType
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.machines import Machine

_LIST = "list"

Model = Annotated[
    str,
    typer.Argument(
        envvar="MISTRAL_SMALL_EDGE_MODEL",
        autocompletion=model_names,
        help="A catalog name (name:QUANT looks at one build), a .gguf file, or "
        "hf:owner/repo/file.gguf.",
    ),
]
For = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="MACHINE",
        autocompletion=machine_names,
        help="Another machine: its memory, as in 16GB, or a name; list shows the names.",
        show_default="this one",
    ),
]
Bandwidth = Annotated[
    float | None,
    typer.Option(
        metavar="GB/S",
        help="How fast its memory is read.",
        show_default="measured, or from the data sheet",
    ),
]
Boxes = Annotated[
    int | None,
    typer.Option(
        help="The model split over so many machines of this kind, the first one included.",
        show_default="1",
    ),
]
Context = Annotated[
    int | None, typer.Option(help="Tokens a conversation is to hold.", show_default="8192")
]
KV = Annotated[
    KVType | None,
    typer.Option("--kv-type", help="Number format of the KV cache.", show_default="f16"),
]
Vision = Annotated[
    bool | None,
    typer.Option("--vision/--no-vision", help="To see pictures, or not.", show_default="if it can"),
]
Everything = Annotated[
    bool, typer.Option("--all", help="Every build in every way, memory part by part.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print all that --all knows as one JSON object.")
]


def plan(
    model: Model = DEFAULT_MODEL,
    machine: For = None,
    bandwidth: Bandwidth = None,
    workers: Workers = None,
    worker_file: WorkerFile = None,
    boxes: Boxes = None,
    context: Context = None,
    kv_type: KV = None,
    vision: Vision = None,
    everything: Everything = False,
    as_json: Json = False,
) -> None:
    """What runs on this machine, how fast at most, and which build to take.

    Nothing is downloaded. What is not on this disk is computed from the catalog's sizes. A
    verdict is about now: memory that other programs hold is not there. With workers, or other
    machines of the same kind, the model is split: together they hold more, and are no faster.
    """
    from mistral_small_edge.advice import Wish
    from mistral_small_edge.cli import plan_figures, plan_screen
    from mistral_small_edge.cli.planning import survey

    wish = Wish(context_length=context, kv_type=kv_type, vision=vision)
    if machine == _LIST:
        others = bandwidth is not None or workers or worker_file or boxes is not None
        if wish != Wish() or others or everything:
            raise InvalidRequest("--for list shows the names, and takes no other option", "--for")
        plan_figures.show_presets(as_json=as_json)
        return
    named = chosen_workers(workers, worker_file)
    figures = plan_figures.Figures.of(
        survey(model), _beside(_machine(machine, bandwidth), named, boxes), wish
    )
    if as_json:
        console.write_json(figures.as_json())
    elif everything:
        figures.show_all()
    else:
        plan_screen.show(figures)


def _machine(name: str | None, bandwidth: float | None) -> Machine:
    """The one that is meant.

    Raises:
        InvalidRequest: there is none of that name, or no memory is so fast.
    """
    from mistral_small_edge.cli.planning import measured_machine
    from mistral_small_edge.machines import another_machine

    if bandwidth is not None and not 0 < bandwidth < 1e6:
        raise InvalidRequest(f"--bandwidth is {bandwidth:g}; it must be above 0", "--bandwidth")
    told = None if bandwidth is None else bandwidth * 1e9
    if name is None:
        return measured_machine(told)
    machine = another_machine(name)
    return machine if told is None else machine.reading_at(told, "as you say")


def _beside(machine: Machine, workers: tuple[str, ...], boxes: int | None) -> Machine:
    """`machine` with others beside it, if any: workers that are there, or `boxes` that are alike.

    Raises:
        InvalidRequest: both are asked for, an address is none, or `boxes` are too many or none.
        WorkerError: a worker is of no use.
    """
    from mistral_small_edge.cli.planning import with_likes, with_workers
    from mistral_small_edge.workers import MOST_WORKERS

    if boxes is not None:
        if not 1 <= boxes <= MOST_WORKERS + 1:
            raise InvalidRequest(
                f"--boxes is {boxes}; it must be from 1 to {MOST_WORKERS + 1}", "--boxes"
            )
        if workers:
            raise InvalidRequest(
                "--boxes is for machines that are not there: no --worker", "--boxes"
            )
        return with_likes(machine, boxes - 1)
    return with_workers(machine, workers) if workers else machine
