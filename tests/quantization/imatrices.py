"""Writes importance matrices in their older form."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


def write_imatrix(path: Path, values: Mapping[str, NDArray[np.float64]]) -> Path:
    """One text was read for it."""
    written = struct.pack("<i", len(values))
    for name, columns in values.items():
        written += struct.pack("<i", len(name)) + name.encode()
        written += struct.pack("<ii", 1, columns.size) + columns.astype("<f4").tobytes()
    path.write_bytes(written)
    return path
