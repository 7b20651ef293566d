"""The table of types against llama.cpp's own."""

from __future__ import annotations

import pytest
from llama_cpp import llama_cpp as lib

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.quantization import RECIPES, Recipe, find_format, find_recipe
from mistral_small_edge.quantization.recipes import FORMATS, fitting, format_number


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_numbers_are_those_of_the_library(recipe: Recipe) -> None:
    assert find_recipe(recipe.name.lower()) is recipe
    names = (f"LLAMA_FTYPE_MOSTLY_{recipe.name}", f"LLAMA_FTYPE_ALL_{recipe.name}")
    assert recipe.file_type in [getattr(lib, name, None) for name in names]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "BF16"])  # not bound
def test_formats_are_those_of_the_library(name: str) -> None:
    assert format_number(name) == getattr(lib, f"GGML_TYPE_{name}")


def test_short_names_mean_what_they_mean_everywhere() -> None:
    assert [find_recipe(name).name for name in ("q4_k", "Q5_K", "Q3_k")] == [
        "Q4_K_M",
        "Q5_K_M",
        "Q3_K_M",
    ]


def test_what_is_unknown_is_told_what_is_known() -> None:
    with pytest.raises(InvalidRequest, match="Q4_K_M") as caught:
        find_recipe("Q4_K_XL")
    assert caught.value.param == "TYPE"
    with pytest.raises(InvalidRequest, match="Q6_K") as caught:
        find_format("IQ1_S", "output_format")
    assert caught.value.param == "output_format"


@pytest.mark.parametrize(
    ("name", "row", "taken"),
    [
        ("Q4_K", 512, "Q4_K"),
        ("Q4_K", 96, "Q5_0"),
        ("IQ4_XS", 96, "IQ4_NL"),
        ("Q8_0", 40, "F16"),
        ("Q6_K", 40, "F16"),
        ("F16", 41, "F16"),
    ],
)
def test_rows_that_do_not_fill_a_block(name: str, row: int, taken: str) -> None:
    assert fitting(name, row) == taken
