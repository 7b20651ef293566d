"""What a model file says of itself: a GGUF header read with distrust.

`container.py` knows the format, `checks.py` what llama.cpp would not survive, `header.py` the
facts that the rest of the program asks for.
"""

from mistral_small_edge.gguf.header import ModelHeader, read_header

__all__ = ["ModelHeader", "read_header"]
