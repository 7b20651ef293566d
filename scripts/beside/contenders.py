"""Who is compared: our server, llama.cpp's, and llama.cpp's with a guesser of words.

The same file, threads, context and slots for each; all else is what a user gets unasked.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llama_cpp import llama_cpp as lib

from mistral_small_edge.llama.log import redirect
from scripts.beside.errors import CompareFailed
from scripts.beside.servers import Contender

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OURS = "ours"
THEIRS = "llama-server"
GUESSING = "llama-server + n-gram"

# What this llama-server can guess with from the text alone, as its documentation sets it up.
SPECULATION: dict[str, tuple[str, ...]] = {
    "ngram-simple": ("--spec-type", "ngram-simple", "--spec-draft-n-max", "64"),
    "ngram-map-k": ("--spec-type", "ngram-map-k", "--spec-draft-n-max", "64"),
    "ngram-map-k4v": (
        *("--spec-type", "ngram-map-k4v", "--spec-draft-n-max", "64"),
        *("--spec-ngram-map-k4v-size-n", "8", "--spec-ngram-map-k4v-size-m", "8"),
        *("--spec-ngram-map-k4v-min-hits", "2"),
    ),
    "ngram-mod": ("--spec-type", "ngram-mod"),
    "ngram-cache": ("--spec-type", "ngram-cache"),
}
BEST_SPECULATION = "ngram-mod"  # of copying, extraction and editing on the demo model

# What is measured is what users install, who have no mistral-common. It is here for the tests, and
# gguf imports it wherever it is, for a quarter of a second.
_AS_INSTALLED = (
    "import sys; sys.modules['mistral_common'] = None; import mistral_small_edge.__main__"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all contenders share; `context` in tokens a slot.

    `adapts`: our server is not told `threads`, so that it may take fewer while others are about.
    """

    model: Path
    threads: int
    context: int
    slots: int
    adapts: bool = False


def ours(setting: Setting, more: tuple[str, ...], banned: Mapping[str, float]) -> Contender:
    """`serve` of this checkout; `more` are options of its own."""
    threads = () if setting.adapts else ("--threads", str(setting.threads))
    return Contender(
        name=OURS,
        command=(
            *(sys.executable, "-P", "-c", _AS_INSTALLED, "serve"),
            *("--model", str(setting.model), *threads),
            *("--context", str(setting.context), "--slots", str(setting.slots), *more),
        ),
        keeps_prompts="--prompt-cache",
        banned=banned,
    )


def llama_server(
    binary: Path, setting: Setting, more: tuple[str, ...], banned: Mapping[str, float]
) -> Contender:
    """llama.cpp's own; `more` are options of its own."""
    threads = str(setting.threads)
    return Contender(
        name=THEIRS,
        command=(
            *(str(binary), "--model", str(setting.model), "--no-ui"),
            *("--threads", threads, "--threads-batch", threads),
            # Its context is that of all slots together.
            *("--ctx-size", str(setting.context * setting.slots), "--parallel", str(setting.slots)),
            *more,
        ),
        banned=banned,
    )


def guessing(theirs: Contender, speculation: str) -> Contender:
    """llama.cpp's server with a kind of speculation, a name in SPECULATION."""
    return replace(theirs, name=GUESSING, command=theirs.command + SPECULATION[speculation])


def no_end(model: Path) -> dict[str, float]:
    """Logit biases against every token that ends an answer.

    Raises:
        CompareFailed: llama.cpp cannot read the file's vocabulary.
    """
    redirect()
    params = lib.llama_model_default_params()
    params.vocab_only = True
    weights = lib.llama_model_load_from_file(str(model).encode(), params)
    if not weights:
        raise CompareFailed(f"{model} cannot be read by llama.cpp")
    vocabulary = lib.llama_model_get_vocab(weights)
    ends = [
        str(token)
        for token in range(lib.llama_vocab_n_tokens(vocabulary))
        if lib.llama_vocab_is_eog(vocabulary, token)
    ]
    lib.llama_model_free(weights)
    return dict.fromkeys(ends, -100.0)
