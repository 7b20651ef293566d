"""Importance matrices of both forms, and files that are none."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.gguf.imatrix import read_imatrix

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "blk.0.ffn_up.weight"


def write_gguf(path: Path, tensors: Mapping[str, list[list[float]]]) -> Path:
    writer = GGUFWriter(path, "")
    writer.kv_data[0].pop("general.architecture", None)
    writer.add_type("imatrix")
    writer.add_uint32("imatrix.chunk_count", 7)
    for name, rows in tensors.items():
        writer.add_tensor(name, np.array(rows, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def older(name: bytes, calls: int, values: list[float]) -> bytes:
    head = struct.pack("<ii", 1, len(name)) + name
    return head + struct.pack(f"<ii{len(values)}f", calls, len(values), *values)


def test_sums_are_divided_by_the_tokens_of_each_expert(tmp_path: Path) -> None:
    sums = [[2.0, 4.0], [9.0, 3.0], [0.0, 0.0]]
    tensors = {f"{NAME}.in_sum2": sums, f"{NAME}.counts": [[2.0], [3.0], [0.0]]}
    found = read_imatrix(write_gguf(tmp_path / "i.gguf", tensors))
    assert found.values[NAME].tolist() == [1, 2, 3, 1, 1, 1]  # the last one saw nothing
    assert found.chunks == 7


def test_the_older_form(tmp_path: Path) -> None:
    path = tmp_path / "i.dat"
    path.write_bytes(older(NAME.encode(), 4, [8.0, 4.0]) + struct.pack("<ii", 12, 3) + b"abc")
    found = read_imatrix(path)
    assert found.values[NAME].tolist() == [2, 1]
    assert found.chunks == 12
    path.write_bytes(older(NAME.encode(), 0, [8.0, 4.0]))  # nor was the end always there
    found = read_imatrix(path)
    assert (found.values[NAME].tolist(), found.chunks) == ([8, 4], 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cut short"),
        (b"# A readme\n", "not an importance matrix"),
        (older(b"\xff\xff", 1, [1.0]), "no matrix has such names"),
        (older(NAME.encode(), 1, [1.0, 2.0])[:-1], "cut short"),
        (older(NAME.encode(), 1, [-1.0]), "no mean squares"),
        (older(NAME.encode(), 1, [float("nan")]), "no mean squares"),
    ],
)
def test_what_is_no_importance_matrix(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "i.dat"
    path.write_bytes(content)
    with pytest.raises(ModelLoadFailed, match=said):
        read_imatrix(path)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"other": [[1.0]]}, "no importance matrix"),
        ({f"{NAME}.in_sum2": [[1.0]]}, "no counts"),
        ({f"{NAME}.in_sum2": [[1.0, 2.0, 3.0]], f"{NAME}.counts": [[1.0], [1.0]]}, "2 counts"),
    ],
)
def test_a_gguf_that_is_none(
    tmp_path: Path, tensors: dict[str, list[list[float]]], said: str
) -> None:
    with pytest.raises(ModelLoadFailed, match=said):
        read_imatrix(write_gguf(tmp_path / "i.gguf", tensors))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="No such file"):
        read_imatrix(tmp_path / "i.dat")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 40))
def test_no_bytes_do_more_than_be_refused(tmp_path: Path, junk: bytes, kept: int) -> None:
    path = tmp_path / "junk.dat"
    path.write_bytes(older(NAME.encode(), 1, [1.0, 2.0])[:kept] + junk)
    try:
        found = read_imatrix(path)
    except ModelLoadFailed:
        return
    assert all(np.isfinite(values).all() for values in found.values.values())
