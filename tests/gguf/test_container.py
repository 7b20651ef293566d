"""Files that are no GGUF, cut short or damaged: one sentence each, with numbers."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from mistral_small_edge.gguf import read_header
from tests.gguf.edits import EOS, TOKENS, refusal
from tests.tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny.gguf")


def patched(path: Path, *changes: tuple[int, bytes]) -> Path:
    """The file with bytes replaced."""
    data = bytearray(path.read_bytes())
    for at, new in changes:
        data[at : at + len(new)] = new
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"GG", "it is not a GGUF file"),
        (b"  <!DOCTYPE html><html>", "it is not a GGUF file but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"PK\x03\x04rest", "a zip archive or a PyTorch checkpoint"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{}", "safetensors"),
        (b'{"error": "x"}', "JSON"),
        (b"tjgg\x03\x00\x00\x00", "before GGUF"),
        (b"GGUF", "the version would end after its 4 bytes"),
        (b"GGUF\x00\x00\x00\x03" + bytes(16), "big-endian"),
        (b"GGUF\x01\x00\x00\x00" + bytes(16), "version 1; versions 2 and 3 can be read"),
        (b"GGUF\x04\x00\x00\x00" + bytes(16), "version 4"),
        (b"GGUF\x03\x00\x00\x00" + bytes(16), "general.architecture is missing"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1 << 62, 0), "4,611,686,018,427,387,904 tensors"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1000), "1,000 keys would end after its 24 bytes"),
    ],
)
def test_not_a_gguf_file(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    assert reason in refusal(path)


def test_not_even_a_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing")
    (tmp_path / "directory").mkdir()
    assert "it is a directory" in refusal(tmp_path / "directory")
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "it cannot be read" in refusal(tmp_path / "loop")


def test_version_2_is_read_like_3(tiny: Path) -> None:
    expected = read_header(tiny)
    assert read_header(patched(tiny, (4, b"\x02"))) == expected


def test_cut_short(tiny: Path) -> None:
    size = tiny.stat().st_size
    os.truncate(tiny, size - 1000)
    assert f"1,000 bytes are missing of the {size:,}" in refusal(tiny)
    for length in range(7000, 0, -7):
        os.truncate(tiny, length)
        assert refusal(tiny)


def after(data: bytes, name: str) -> int:
    """The offset just after the name of a key or a tensor."""
    return data.index(struct.pack("<Q", len(name)) + name.encode()) + 8 + len(name)


def test_damaged_keys(tiny: Path) -> None:
    sound = tiny.read_bytes()
    layers, tokens = after(sound, "llama.block_count"), after(sound, TOKENS)
    types, eos = after(sound, "tokenizer.ggml.token_type"), after(sound, EOS)
    huge = struct.pack("<Q", 1 << 63)
    for at, damage, reason in [
        (24, bytes(8), "a key of 0 bytes"),
        (layers - 25, huge, "a key of 9,223,372,036,854,775,808 bytes"),
        (layers - 3, b"\0", "a key reads 'llama.block_co\\x00nt'"),
        (layers, b"\x0d", "llama.block_count has the unknown type 13"),
        (eos - len(EOS), EOS.replace("eos", "bos").encode(), "bos_token_id twice"),
        (tokens + 4, b"\x09", "tokenizer.ggml.tokens is an array of arrays"),
        (tokens + 8, huge, "strings in tokenizer.ggml.tokens; at most 2,097,152 are read"),
        (
            tokens + 8,
            struct.pack("<Q", 99_999),
            "99,999 strings in tokenizer.ggml.tokens would end",
        ),
        (tokens + 16, huge, "the 275 strings of tokenizer.ggml.tokens would end after"),
        (types + 8, huge, "values of tokenizer.ggml.token_type would end after"),
    ]:
        tiny.write_bytes(sound)
        assert reason in refusal(patched(tiny, (at, damage)))


def test_damaged_tensors(tiny: Path) -> None:
    sound = tiny.read_bytes()
    query, last = after(sound, "blk.0.attn_q.weight"), after(sound, "output.weight")
    many, most = struct.pack("<Q", 1 << 32), struct.pack("<Q", (1 << 64) - 1)
    # After the name: dimensions (4 bytes), two of them (8 each), format (4), offset (8).
    for at, damage, reason in [
        (query, b"\x05", "5 dimensions; at most 4"),
        (query + 4, bytes(8), "has the shape [0, 64]"),
        (query + 4, many + many, "has the shape [4294967296, 4294967296]"),
        (query + 12, most, "has the shape [64, 18446744073709551615]"),
        (query + 20, b"\x05", "has the unknown number format 5"),
        (query + 20, b"\x0c", "rows of 64, Q4_K takes multiples of 256"),
        (query + 24, struct.pack("<Q", 7), "begins at byte 7 of the data, not "),
        (query - 8, b"k", "has the tensor blk.0.attn_k.weight twice"),
        (query - 27, struct.pack("<Q", 64), "a tensor name of 64 bytes"),
        (last + 12, struct.pack("<Q", 1 << 20), "bytes are missing"),
    ]:
        tiny.write_bytes(sound)
        assert reason in refusal(patched(tiny, (at, damage)))
