"""A smaller model beside the large one, to write ahead of it: found, held against it, loaded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.gguf import read_header
from mistral_small_edge.llama.draft_model import LlamaDraft
from mistral_small_edge.llama.model import load_model
from mistral_small_edge.llama.tokenizer import LlamaTokenizer
from mistral_small_edge.llm.calibrations import draft_cost
from mistral_small_edge.llm.fingerprint import fingerprint
from mistral_small_edge.store.catalog import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_small_edge.config import EngineConfig
    from mistral_small_edge.gguf import ModelHeader
    from mistral_small_edge.llama.model import ModelOptions
    from mistral_small_edge.llama.runner import LlamaRunner
    from mistral_small_edge.llm.calibrations import Machine

_PARAM = "draft_model"


@dataclass(frozen=True, slots=True)
class DraftFile:
    """A file that is to write ahead, how it is computed, and the mark of both."""

    path: Path
    header: ModelHeader
    options: ModelOptions
    mark: str


def choose(config: EngineConfig, options: ModelOptions) -> DraftFile | None:
    """The file that `config` names; None if it names none.

    Args:
        options: the large model's. Lanes are as many; they are as long, if the file was trained on that
            many tokens: behind them it does not write.

    Raises:
        ModelNotFound, NotCached, ModelLoadFailed: there is none, or none that can be read.
    """
    if config.draft_model is None:
        return None
    file = resolve(config.draft_model)
    header = read_header(file.path)
    own = replace(
        options,
        context_length=min(options.context_length, header.context_length),
        kv_type="f16",
        flash_attention=False,
        float_matrices=header.has_float_matrices,
        workers=(),
    )
    return DraftFile(file.path, header, own, fingerprint(file.parts, own))


def load(
    draft: DraftFile,
    runner: LlamaRunner,
    tokenizer: LlamaTokenizer,
    mark: str,
    machine: Machine,
) -> LlamaDraft:
    """Load it, and find out what a token of it takes beside one of the large model's.

    Args:
        runner, tokenizer, mark: the large model's.

    Raises:
        InvalidRequest: it cannot write for that one.
        ModelLoadFailed: llama.cpp would not have it.
    """
    with ExitStack() as undo:
        model = load_model(draft.path, draft.options)
        undo.callback(model.close)
        written = LlamaDraft(model, draft.options)
        if not (runner.keeps_rows and written.runner.keeps_rows):
            raise InvalidRequest("a recurrent model cannot take guesses back", _PARAM)
        if not _same_vocabulary(tokenizer, LlamaTokenizer(model)):
            raise InvalidRequest(
                f"{draft.path.name} has another vocabulary: its tokens mean something else", _PARAM
            )
        found = draft_cost(runner, written.runner, (mark, draft.mark), machine)
        written.cost = found.share
        undo.pop_all()
    return written


def _same_vocabulary(one: LlamaTokenizer, other: LlamaTokenizer) -> bool:
    """Whether every id spells the same; a name that a control token goes by does not matter."""
    return one.vocab_size == other.vocab_size and all(
        one.token_bytes(token) == other.token_bytes(token) for token in range(one.vocab_size)
    )
