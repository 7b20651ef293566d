"""What is to be quantized, and whether it can be: everything that may fail before hours are spent."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_small_edge.errors import InvalidRequest, ModelLoadFailed, readable_size
from mistral_small_edge.gguf.imatrix import read_imatrix
from mistral_small_edge.quantization.contents import Contents, is_matrix, read_contents
from mistral_small_edge.quantization.recipes import FLOATS, bytes_of, fitting

if TYPE_CHECKING:
    from mistral_small_edge.gguf.container import Tensor
    from mistral_small_edge.quantization.recipes import Recipe

_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
# What recipes give the matrices that matter more, over the format of most: 7 % in Q4_K_M, 15 % in
# Q2_K, most in the smallest ones. The first and the last matrix have 8.5 bits a number at most.
_MIXED = 1.2
_SPLIT = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked for.

    Attributes:
        recipe: what to make of it.
        threads: compute threads, at least 1.
        imatrix: a file that tells which columns matter.
        pure: every matrix in the recipe's own format.
        requantize: take a source that is quantized already.
        output_format, embedding_format: of the last and of the first matrix; None leaves them to
            the recipe.
    """

    recipe: Recipe
    threads: int
    imatrix: Path | None = None
    pure: bool = False
    requantize: bool = False
    output_format: str | None = None
    embedding_format: str | None = None

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise InvalidRequest(f"threads is {self.threads}; it must be at least 1", "threads")
        if self.recipe.needs_imatrix and self.imatrix is None:
            raise InvalidRequest(
                f"type is {self.recipe.name}, which makes garbage without an importance matrix: "
                "name one, --imatrix FILE",
                "TYPE",
            )
        if self.recipe.is_float and self.imatrix is not None:
            raise InvalidRequest(
                f"an importance matrix has no use for {self.recipe.name}: nothing is quantized",
                "imatrix",
            )
        self._check_choices()

    def _check_choices(self) -> None:
        """llama.cpp passes over what it has no use for; nobody else should have to find out."""
        chosen = (
            ("output_format", self.output_format),
            ("embedding_format", self.embedding_format),
        )
        for name, value in chosen:
            if value is not None and (self.pure or self.recipe.is_float):
                reason = "with --pure" if self.pure else f"of {self.recipe.name}"
                raise InvalidRequest(f"{name} cannot be chosen: {reason} all are alike", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A source that was looked at, and what will be made of it at `target`.

    `unweighted` are matrices of layers that the importance matrix, if there is one, does not know.
    """

    source: Contents
    target: Path
    wishes: Wishes
    unweighted: tuple[str, ...] = ()

    @property
    def expected_bytes(self) -> int:
        """About what the result will take, rather too much than too little."""
        return sum(map(self._expected, self.source.tensors.items()))

    @property
    def is_quantized(self) -> bool:
        """Whether the source has lost something already."""
        return any(kind not in FLOATS for kind in self.source.formats)

    def _expected(self, item: tuple[str, Tensor]) -> int:
        name, tensor = item
        if not is_matrix(tensor):
            return tensor.size
        wishes, numbers = self.wishes, math.prod(tensor.shape)
        plain = bytes_of(fitting(wishes.recipe.format, tensor.shape[0]), numbers)
        if wishes.recipe.is_float or wishes.pure:
            return plain
        if name in (_EMBEDDING, _OUTPUT):
            chosen = wishes.output_format or "Q8_0", wishes.embedding_format or "Q8_0"
            return max(plain, *(bytes_of(kind, numbers) for kind in chosen))
        return round(_MIXED * plain)


def plan(source: Path, target: Path | None, wishes: Wishes, *, replace: bool) -> Job:
    """Look at everything first.

    Args:
        source: a language model, by its first part, or a projector.
        target: where the result goes, None for the working directory, under the source's name with
            the recipe's in its type's place. A file that is there is replaced if `replace` says so.

    Raises:
        ModelLoadFailed: the source is damaged, or something else.
        InvalidRequest: it cannot be done as asked.
    """
    contents = read_contents(source)
    target = target or Path(_file_name(contents, wishes.recipe))
    job = Job(source=contents, target=target, wishes=wishes)
    if job.is_quantized and not wishes.requantize:
        [kind, *_] = [kind for kind in job.source.formats if kind not in FLOATS]
        raise InvalidRequest(
            f"source is quantized already ({kind}): a second time costs more quality than quantizing "
            "the F16 or BF16 file once; if there is none, insist with --requantize",
            "SOURCE",
        )
    _check_target(job, replace=replace)
    _check_space(job)
    if wishes.imatrix is None:
        return job
    return replaced(job, unweighted=_unweighted(job.source, wishes.imatrix))


def _file_name(source: Contents, recipe: Recipe) -> str:
    stem = _SPLIT.sub("", source.path.name.removesuffix(".gguf"))
    for mark in "-._":
        if source.label and stem.lower().endswith(f"{mark}{source.label}".lower()):
            return f"{stem[: -len(source.label)]}{recipe.name}.gguf"
    return f"{stem}-{recipe.name}.gguf"


def _check_target(job: Job, *, replace: bool) -> None:
    target, source = job.target, job.source.path
    try:
        if not target.parent.is_dir():
            raise InvalidRequest(
                f"output is {str(target)!r}, in a folder that is not there", "output"
            )
        if not target.exists():
            return
        if target.samefile(source):
            raise InvalidRequest("output is the source itself; name another file", "output")
        if target.is_dir():
            raise InvalidRequest(f"output is {str(target)!r}, a folder; name a file", "output")
    except OSError as error:
        raise InvalidRequest(f"output is {str(target)!r}: {error.strerror}", "output") from error
    if not replace:
        raise InvalidRequest(
            f"output is {str(target)!r}, which is there already; replace it with --force, or name "
            "another file: -o FILE",
            "output",
        )


def _unweighted(source: Contents, path: Path) -> tuple[str, ...]:
    """What the importance matrix does not know of this model.

    Raises:
        InvalidRequest: it is none, or another model's: llama.cpp finds that out halfway, or never.
    """
    try:
        entries = read_imatrix(path).values
    except ModelLoadFailed as error:
        raise InvalidRequest(f"imatrix is {str(path)!r}: {error.reason}", "imatrix") from None
    matrices = {name: one for name, one in source.tensors.items() if is_matrix(one)}
    if not entries.keys() & matrices.keys():
        raise InvalidRequest(
            f"imatrix is {str(path)!r}, another model's: it knows no matrix of this one", "imatrix"
        )
    for name in entries.keys() & matrices.keys():
        shape = matrices[name].shape
        columns = shape[0] * math.prod(shape[2:])
        if entries[name].size != columns:
            raise InvalidRequest(
                f"imatrix is {str(path)!r}, another model's: {name} has {columns} columns here, "
                f"and {entries[name].size} there",
                "imatrix",
            )
    return tuple(name for name in matrices if name.startswith("blk.") and name not in entries)


def _check_space(job: Job) -> None:
    folder = job.target.parent
    free = shutil.disk_usage(folder).free
    if job.expected_bytes > free:
        raise InvalidRequest(
            f"the result takes about {readable_size(job.expected_bytes)} and {str(folder)!r} has "
            f"{readable_size(free)} free; put it elsewhere: -o FILE",
            "output",
        )
