"""`download`: bring a model's file to this disk, and print where it is."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from mistral_small_edge.cli import console
from mistral_small_edge.cli.completion import model_names
from mistral_small_edge.config import DEFAULT_MODEL
from mistral_small_edge.errors import ChecksumMismatch, InvalidRequest, readable_size

if TYPE_CHECKING:
    from types import TracebackType

    from mistral_small_edge.advice import Outlook
    from mistral_small_edge.store.catalog import Catalog
    from mistral_small_edge.store.delivery import FetchProgress, Phase
    from mistral_small_edge.store.download import Fetched
    from mistral_small_edge.store.hub import Hub
    from mistral_small_edge.store.source import ModelSource


def download(
    model: Annotated[
        str,
        typer.Argument(
            envvar="MISTRAL_SMALL_EDGE_MODEL",
            autocompletion=model_names,
            help="A catalog name (name:QUANT picks a build, a bare name the one that suits this "
            "machine) or hf:owner/repo/file.gguf.",
        ),
    ] = DEFAULT_MODEL,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Put the file there, as on another disk; later name it by its path.",
            show_default="the hub's shared cache",
        ),
    ] = None,
    no_vision: Annotated[
        bool,
        typer.Option("--no-vision", help="Leave the projector out: the model reads text only."),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no network; say where the file is.")
    ] = False,
) -> None:
    """Fetch a model and its projector, the part that sees, and print the model's path.

    A fetch that was stopped goes on where it was. The sha256 of what came is compared with the
    hub's. HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured.
    """
    from mistral_small_edge.store.catalog import Catalog
    from mistral_small_edge.store.hub import Hub

    catalog, hub = Catalog.load(), Hub(offline=offline)
    source, sees = _source(model, catalog, hub, to, vision=not no_vision)
    projector = catalog.find_projector(model) if sees else None
    fetched = _fetch(source, hub, to)
    console.note(_summary(fetched))
    console.write_line(str(fetched.file.path))
    if projector is not None and projector != source:
        seeing = _fetch(projector, hub, to)
        console.note(_summary(seeing) + (f": {seeing.file.path}" if to else ""))


def _source(
    model: str, catalog: Catalog, hub: Hub, to: Path | None, *, vision: bool
) -> tuple[ModelSource, bool]:
    """What `model` names, and whether it is to see.

    Where it leaves the build open: one that is here or was begun, or else what suits this machine.

    Raises:
        NotCached: none is here, and the hub is not to be asked.
        InvalidRequest: none can be run on this machine.
    """
    from mistral_small_edge.store.catalog import likeliest_here, resolve

    choices = catalog.choices(model)
    if len(choices) == 1:
        return choices[0], vision
    found = likeliest_here(choices)
    if found is not None:
        state = "was begun" if found.file is None else "is here"
        console.note(
            f"Taking {found.source.name}, which {state}; name another build to fetch that."
        )
        return found.source, vision
    if hub.is_offline:
        resolve(model, catalog=catalog)  # says that none is here
    suited = _suited(model, to, vision=vision)
    return catalog.find(suited.candidate.name), suited.setting.vision


def _suited(model: str, to: Path | None, *, vision: bool) -> Outlook:
    """The build for this machine, and how to run it; says why on stderr.

    Raises:
        InvalidRequest: none can be run here.
    """
    from mistral_small_edge.advice import Wish
    from mistral_small_edge.cli.planning import measured_machine, survey

    choice, machine = survey(model), measured_machine(models=to)
    wish = Wish(vision=None if vision else False)
    taken = choice.recommend(machine, wish) or choice.recommend(machine.emptied(), wish)
    if taken is None:
        smallest = min(choice.builds, key=lambda build: build.size)
        raise InvalidRequest(
            f"model is {model!r}, and this machine can run no build of it; name one to fetch it "
            f"all the same, as {smallest.candidate.name}",
            "model",
        )
    console.note(f"Taking {taken.outlook.candidate.name}: {taken.reason}.")
    return taken.outlook


def _fetch(source: ModelSource, hub: Hub, to: Path | None) -> Fetched:
    """Fetch, and once more for as long as damage comes and somebody says yes."""
    from mistral_small_edge.store.download import fetch

    while True:
        try:
            with FetchDisplay(source.name) as display:
                return fetch(source, hub, to=to, report=display.show)
        except ChecksumMismatch as error:
            if not (console.can_ask() and typer.confirm(f"{error}. Fetch it again?", err=True)):
                raise


def _summary(fetched: Fetched) -> str:
    from mistral_small_edge.store.source import PackageFile

    file, location = fetched.file, fetched.file.location
    size = readable_size(file.size)
    match fetched.checked:
        case "sha256":
            return f"{file.name}: {size}, sha256 as published"
        case "size":
            return f"{file.name}: {size}; nobody published a sha256, so only the size was checked"
    if isinstance(location, PackageFile):
        return f"{file.name}: {size}, in the Python package {location.requirement}"
    return f"{file.name}: {size}, on this disk already"


class FetchDisplay:
    """Shows a fetch as it goes: a bar on a terminal, a line for each turn of events elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack = ExitStack()
        self._bar = console.Bar()
        self._phase: Phase | None = None

    def show(self, progress: FetchProgress) -> None:
        """Take the next report."""
        wording = _WORDING[progress.phase]
        if progress.phase != self._phase:
            # A bar's rate counts from its beginning, and a disk is read faster than a network.
            if self._phase is None or "checking" in (progress.phase, self._phase):
                self._stack.close()
                bar = console.progress(wording, "bytes", initial=progress.initial)
                self._bar = self._stack.enter_context(bar)
            if not console.can_draw():
                console.note(f"{self._name}: {wording.lower()}, {_extent(progress)}")
            self._phase = progress.phase
        self._bar.update(progress.done, progress.total, wording)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _extent(progress: FetchProgress) -> str:
    return f"{readable_size(progress.done)} of {readable_size(progress.total)}"


_WORDING: dict[Phase, str] = {
    "waiting": "Waiting for another process that fetches it",
    "checking": "Checking what is there",
    "fetching": "Fetching",
    "retrying": "Trying again",
}
