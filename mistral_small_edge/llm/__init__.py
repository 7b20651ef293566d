"""Where what is said meets what is computed: a loaded model that answers.

The only rooms that know both `chat` and `engine`. `LLM.stream` is the one way to an answer.
"""

from mistral_small_edge.llm.llm import LLM
from mistral_small_edge.llm.stream import Stream

__all__ = ["LLM", "Stream"]
