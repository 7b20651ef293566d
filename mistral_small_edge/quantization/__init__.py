"""A model's file in smaller numbers: planned, written by llama.cpp's quantizer, and checked.

`recipes.py` has the types by name, `job.py` what is asked for and whether it can be, `process.py`
runs the quantizer where it can be killed (`child.py` is what runs there), `comparison.py` holds the
result against its source, and `score.py` lets both read a text.
"""

from mistral_small_edge.quantization.contents import Contents
from mistral_small_edge.quantization.job import Job, Wishes, plan
from mistral_small_edge.quantization.process import run
from mistral_small_edge.quantization.recipes import RECIPES, Recipe, find_format, find_recipe
from mistral_small_edge.quantization.score import Agreement, Score, agreement, score

__all__ = [
    "RECIPES",
    "Agreement",
    "Contents",
    "Job",
    "Recipe",
    "Score",
    "Wishes",
    "agreement",
    "find_format",
    "find_recipe",
    "plan",
    "run",
    "score",
]
