"""`plan`: what runs on this machine, or on another one, before anything is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli import console
from mistral_small_edge.cli.completion import machine_names, model_names
from mistral_small_edge.config import DEFAULT_MODEL, KVType
from mistral_small_edge.errors import InvalidRequest

if TYPE_CHECKING:
    from mistral_small_edge.machines import Machine

_LIST = "list"


def plan(
    model: Annotated[
        str,
        typer.Argument(
            envvar="MISTRAL_SMALL_EDGE_MODEL",
            autocompletion=model_names,
            help="A catalog name (name:QUANT looks at one build), a .gguf file, or "
            "hf:owner/repo/file.gguf.",
        ),
    ] = DEFAULT_MODEL,
    machine: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="MACHINE",
            autocompletion=machine_names,
            help="Another machine: its memory, as in 16GB, or a name; list shows the names.",
            show_default="this one",
        ),
    ] = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(
            metavar="GB/S",
            help="How fast its memory is read.",
            show_default="measured, or from the data sheet",
        ),
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens a conversation is to hold.", show_default="8192")
    ] = None,
    kv_type: Annotated[
        KVType | None,
        typer.Option("--kv-type", help="Number format of the KV cache.", show_default="f16"),
    ] = None,
    vision: Annotated[
        bool | None,
        typer.Option(
            "--vision/--no-vision", help="To see pictures, or not.", show_default="if it can"
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every build in every way, memory part by part.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that --all knows as one JSON object.")
    ] = False,
) -> None:
    """What runs on this machine, how fast at most, and which build to take.

    Nothing is downloaded. What is not on this disk is computed from the catalog's sizes. A
    verdict is about now: memory that other programs hold is not there.
    """
    from mistral_small_edge.advice import Wish
    from mistral_small_edge.cli import plan_figures, plan_screen
    from mistral_small_edge.cli.planning import survey

    wish = Wish(context_length=context, kv_type=kv_type, vision=vision)
    if machine == _LIST:
        if wish != Wish() or bandwidth is not None or everything:
            raise InvalidRequest("--for list shows the names, and takes no other option", "--for")
        plan_figures.show_presets(as_json=as_json)
        return
    figures = plan_figures.Figures.of(survey(model), _machine(machine, bandwidth), wish)
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
