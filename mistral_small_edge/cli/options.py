"""Options that several commands share, spelled once; defaults come from config.py."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_small_edge.cli.completion import model_names
from mistral_small_edge.config import FlashAttention, KVType, Repack, Speculation
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.images import Detail

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.models import OptionInfo

    from mistral_small_edge.sampling_params import SamplingParams

_PROMPTS_KEPT = "Keep there what was read, up to 8 GB, so that the next run need not read it again."
_IMAGES_KEPT = (
    "Keep there what pictures look like to the model, up to 2 GB, so that none is looked at twice."
)
USUAL_CACHE = "in your cache folder"
SLOTS = 4  # of commands that answer many at a time; each takes its part of memory

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="MISTRAL_SMALL_EDGE_MODEL",
        help="A catalog name (name:QUANT picks a build), a .gguf file, or hf:owner/repo/file.gguf.",
        autocompletion=model_names,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(help="Tokens a conversation can hold, answer included.", show_default="8192"),
]
Threads = Annotated[
    int | None,
    typer.Option(help="Compute threads.", show_default="the performance cores we may use"),
]
GpuLayers = Annotated[
    int | None,
    typer.Option(help="Layers on the accelerator.", show_default="all on Apple Metal, 0 elsewhere"),
]
KV = Annotated[KVType, typer.Option("--kv-type", help="Number format of the KV cache.")]
Flash = Annotated[FlashAttention, typer.Option("--flash-attention", help="auto, on or off.")]
Speculate = Annotated[
    Speculation,
    typer.Option(
        "--speculation",
        help="auto guesses ahead what an answer repeats, where that is faster; the answer stays the same.",
    ),
]
DraftModel = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A smaller model of the same vocabulary that writes ahead where there is nothing to "
        "repeat: a .gguf file or hf:owner/repo/file.gguf.",
        show_default="none",
    ),
]
Repacking = Annotated[
    Repack,
    typer.Option(
        "--repack",
        help="Lay weights out anew for this processor's kernels: faster writing, on some slower "
        "reading. auto tries it once.",
    ),
]
Mlock = Annotated[bool, typer.Option("--mlock", help="Pin the weights in memory.")]
Force = Annotated[bool, typer.Option("--force", help="Load even if memory looks too small.")]
NoVision = Annotated[
    bool,
    typer.Option("--no-vision", help="Leave the model's projector, the part that sees, alone."),
]
Mmproj = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A projector of your own: a .gguf file or hf:owner/repo/file.gguf.",
        show_default="the model's, if it is here",
    ),
]


def prompt_cache(default: str, purpose: str = _PROMPTS_KEPT) -> OptionInfo:
    """`--prompt-cache` of a command that does what `default` says if it is not given."""
    option: OptionInfo = typer.Option(
        "--prompt-cache",
        metavar="DIR",
        envvar="MISTRAL_SMALL_EDGE_PROMPT_CACHE",
        help=purpose,
        show_default=default,
    )
    return option


def image_cache(default: str, purpose: str = _IMAGES_KEPT) -> OptionInfo:
    """`--image-cache`, likewise."""
    option: OptionInfo = typer.Option(
        "--image-cache",
        metavar="DIR",
        envvar="MISTRAL_SMALL_EDGE_IMAGE_CACHE",
        help=purpose,
        show_default=default,
    )
    return option


PromptCache = Annotated[Path | None, prompt_cache(USUAL_CACHE)]
ImageCache = Annotated[Path | None, image_cache(USUAL_CACHE)]
NoPromptCache = Annotated[
    bool, typer.Option("--no-prompt-cache", help="Keep in memory only what was read.")
]
NoImageCache = Annotated[
    bool, typer.Option("--no-image-cache", help="Keep in memory only what pictures look like.")
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show llama.cpp's own log on stderr.")]

Workers = Annotated[
    list[str] | None,
    typer.Option(
        "--worker",
        metavar="HOST:PORT",
        help="A machine that runs `mistral-small-edge worker` and takes some of the layers; may be "
        "given several times.",
        show_default="none",
    ),
]
WorkerFile = Annotated[
    Path | None,
    typer.Option(
        "--worker-file",
        metavar="FILE",
        help="A file that names such machines, one a line.",
        show_default="none",
    ),
]
WorkerTimeout = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="What a step may take until a worker counts as hanging."),
]

API_KEY_VARIABLE = "MISTRAL_SMALL_EDGE_API_KEY"
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="MISTRAL_SMALL_EDGE_SERVER",
        help=f"Ask the model of this server, as http://127.0.0.1:8080; {API_KEY_VARIABLE} is sent "
        "along.",
        show_default="one that runs here with this model, if any",
    ),
]
Local = Annotated[
    bool, typer.Option("--local", help="Load the model here, whatever servers there are.")
]

Slots = Annotated[int, typer.Option(help="Answers computed at the same time.")]
_AT_ONCE = (
    "Answers that are usually written at the same time. Those with a seed or at temperature 0 are "
    "computed as is fastest for so many; one alone may be slower for it."
)
AtOnce = Annotated[int, typer.Option(help=_AT_ONCE)]
AllAtOnce = Annotated[int | None, typer.Option(help=_AT_ONCE, show_default="all slots")]
Alias = Annotated[
    list[str] | None,
    typer.Option(help="A further name that the model answers to.", show_default="none"),
]

System = Annotated[str | None, typer.Option(help="The system prompt.", show_default="none")]
MaxTokens = Annotated[
    int | None,
    typer.Option(help="Tokens the answer may have.", show_default="what the context holds"),
]
Temperature = Annotated[
    float | None,
    typer.Option(help="0..2; 0 always takes the likeliest token.", show_default="the model's own"),
]
TopP = Annotated[
    float | None, typer.Option(help="0..1; nucleus sampling.", show_default="the model's own")
]
Seed = Annotated[
    int | None,
    typer.Option(help="Same seed, same prompt, same answer.", show_default="a fresh one"),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(help="A string that ends the answer; up to 4.", show_default="none"),
]
Image = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="A picture that the question is about; may be given several times, - reads it from "
        "stdin.",
        show_default="none",
    ),
]
ImageDetail = Annotated[
    Detail,
    typer.Option(
        help="low: 272 tokens a picture at most; high: as sharp as the model sees, up to 3080; "
        "auto: high, but no more than half of the context."
    ),
]
ImageAsStored = Annotated[
    bool,
    typer.Option("--image-as-stored", help="Do not turn photographs upright (EXIF orientation)."),
]
Schema = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Answer in JSON that this JSON schema admits; - reads it from stdin.",
        show_default="none",
    ),
]
Choice = Annotated[
    str | None,
    typer.Option(metavar="A,B,C", help="Answer with one of these.", show_default="any"),
]
Tools = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Tools the model may call, a JSON list as in OpenAI's API; calls are printed as JSON, "
        "one a line.",
        show_default="none",
    ),
]
ToolChoice = Annotated[
    str | None,
    typer.Option(help="auto, none, required, or a tool's name.", show_default="auto"),
]


def folder(
    chosen: Path | None, usual: Callable[[], Path] | None, *, off: bool = False
) -> Path | None:
    """Where something outlives the program; None if nowhere.

    Args:
        usual: tells the place where nothing was chosen; None if that means nowhere.
        off: nowhere, though an environment variable may have chosen a folder.
    """
    if off or chosen is not None or usual is None:
        return None if off else chosen
    with suppress(OSError):  # there is no home to keep it in
        return usual()
    return None


def bytes_of(size: str | None, option: str) -> int | None:
    """A size as memory is sold by, `6GB`, in bytes; None if it was not given.

    Raises:
        InvalidRequest: it is none.
    """
    from mistral_small_edge.machines import memory_size

    if size is None:
        return None
    found = memory_size(size)
    if found is None:
        raise InvalidRequest(f"{option} is {size!r}; it must be a size, as in 6GB", option)
    return found


def chosen_workers(workers: list[str] | None, file: Path | None) -> tuple[str, ...]:
    """Those that were named, and then the file's; for `EngineConfig.workers`.

    Raises:
        InvalidRequest: the file cannot be read, or names none.
    """
    from mistral_small_edge.workers import read_workers

    return (*(workers or ()), *(read_workers(file) if file is not None else ()))


def is_typed(invocation: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line: not a default, nor from the environment."""
    source = invocation.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@dataclass(frozen=True, slots=True)
class SamplingChoice:
    """What was chosen on the command line; None and () leave it to the model."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def over(self, defaults: SamplingParams) -> SamplingParams:
        """`defaults` with what was chosen in their place.

        Raises:
            InvalidRequest: a value is out of its range.
        """
        return replace(
            defaults,
            max_tokens=defaults.max_tokens if self.max_tokens is None else self.max_tokens,
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=defaults.top_p if self.top_p is None else self.top_p,
            seed=defaults.seed if self.seed is None else self.seed,
            stop=self.stop or defaults.stop,
        )
