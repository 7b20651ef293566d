"""Pictures: from a file's bytes to the pixels that the model is shown.

`image.py` is the value that the rest of the program hands around and `geometry.py` its arithmetic:
pure Python, cheap to import. `decode.py` turns bytes into that value, and is the way to all that
knows Pillow and numpy: `colours.py`, `upright.py`, `resample.py`. It is imported by its own name.
"""

from mistral_small_edge.images.image import Detail, Image

__all__ = ["Detail", "Image"]
