"""What a model file says of itself: a GGUF header read with distrust.

`container.py` knows the format, `checks.py` what llama.cpp would not survive, `header.py` the
facts that the rest of the program asks for, and `projector.py` all three of the file beside a
model that looks at pictures.
"""

from mistral_small_edge.gguf.first_layer import write_first_layer
from mistral_small_edge.gguf.header import ModelHeader, read_header
from mistral_small_edge.gguf.projector import (
    ProjectorHeader,
    is_projector,
    read_projector,
    read_row_break,
)

__all__ = [
    "ModelHeader",
    "ProjectorHeader",
    "is_projector",
    "read_header",
    "read_projector",
    "read_row_break",
    "write_first_layer",
]
