"""The types a file can be quantized to, under the names that everybody writes.

A recipe is llama.cpp's: a format for most matrices, and others for those that matter more. Left out
are those for models that were trained for them (ternary, MXFP4) and those of a single maker.
"""

from __future__ import annotations

from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from mistral_small_edge.errors import InvalidRequest

FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Recipe:
    """`format` is that of most matrices; without an importance matrix some recipes make garbage."""

    name: str
    format: str
    needs_imatrix: bool = False

    @property
    def file_type(self) -> int:
        """llama.cpp's number for it, which the file carries."""
        prefix = "ALL" if self.name == "F32" else "MOSTLY"
        return LlamaFileType[f"{prefix}_{self.name}"].value

    @property
    def is_float(self) -> bool:
        """Whether its matrices are not quantized at all."""
        return self.format in FLOATS


RECIPES = (
    Recipe("F32", "F32"),
    Recipe("F16", "F16"),
    Recipe("BF16", "BF16"),
    Recipe("Q8_0", "Q8_0"),
    Recipe("Q6_K", "Q6_K"),
    Recipe("Q5_K_M", "Q5_K"),
    Recipe("Q5_K_S", "Q5_K"),
    Recipe("Q5_1", "Q5_1"),
    Recipe("Q5_0", "Q5_0"),
    Recipe("Q4_K_M", "Q4_K"),
    Recipe("Q4_K_S", "Q4_K"),
    Recipe("Q4_1", "Q4_1"),
    Recipe("Q4_0", "Q4_0"),
    Recipe("IQ4_NL", "IQ4_NL"),
    Recipe("IQ4_XS", "IQ4_XS"),
    Recipe("Q3_K_L", "Q3_K"),
    Recipe("Q3_K_M", "Q3_K"),
    Recipe("Q3_K_S", "Q3_K"),
    Recipe("IQ3_M", "IQ3_S"),
    Recipe("IQ3_S", "IQ3_S"),
    Recipe("IQ3_XS", "IQ3_S", needs_imatrix=True),
    Recipe("IQ3_XXS", "IQ3_XXS", needs_imatrix=True),
    Recipe("Q2_K", "Q2_K"),
    Recipe("Q2_K_S", "Q2_K", needs_imatrix=True),
    Recipe("IQ2_M", "IQ2_S", needs_imatrix=True),
    Recipe("IQ2_S", "IQ2_XS", needs_imatrix=True),
    Recipe("IQ2_XS", "IQ2_XS", needs_imatrix=True),
    Recipe("IQ2_XXS", "IQ2_XXS", needs_imatrix=True),
    Recipe("IQ1_M", "IQ1_M", needs_imatrix=True),
    Recipe("IQ1_S", "IQ1_S", needs_imatrix=True),
)
_ALIASES = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}
_SMALLER_BLOCKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
# What a single matrix may be asked to be in: good enough for the two that matter most.
FORMATS = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0")


def find_recipe(name: str) -> Recipe:
    """The recipe called so, in any case.

    Raises:
        InvalidRequest: there is none.
    """
    wanted = _ALIASES.get(name.upper(), name.upper())
    for recipe in RECIPES:
        if recipe.name == wanted:
            return recipe
    known = ", ".join(recipe.name for recipe in RECIPES)
    raise InvalidRequest(f"type is {name!r}; there are {known}", "TYPE")


def find_format(name: str, param: str) -> str:
    """The number format called so, in any case.

    Raises:
        InvalidRequest: there is none, or none that a single matrix is worth asking for.
    """
    if name.upper() not in FORMATS:
        raise InvalidRequest(f"{param} is {name!r}; there are {', '.join(FORMATS)}", param)
    return name.upper()


def format_number(name: str) -> int:
    """llama.cpp's number for a format."""
    return GGMLQuantizationType[name].value


def fitting(name: str, row: int) -> str:
    """What llama.cpp takes in a format's place where rows of `row` numbers do not fill its blocks."""
    if row % _block(name)[0] == 0:
        return name
    smaller = "IQ4_NL" if name.startswith("IQ") else _SMALLER_BLOCKS.get(name, name)
    return "F16" if row % _block(smaller)[0] else smaller


def bytes_of(name: str, numbers: int) -> int:
    """What whole rows of `numbers` in all take."""
    per_block, size = _block(name)
    return -(-numbers // per_block) * size


def _block(name: str) -> tuple[int, int]:
    """Numbers, and bytes."""
    return GGML_QUANT_SIZES[GGMLQuantizationType[name]]
