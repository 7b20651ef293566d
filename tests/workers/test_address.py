"""What a worker's address may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.workers import WorkerAddress, parse_workers, read_workers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.2", "10.0.0.2", 50052),
        ("10.0.0.2:1", "10.0.0.2", 1),
        (" attic.local:65535\n", "attic.local", 65535),
    ],
)
def test_a_host_with_or_without_a_port(text: str, host: str, port: int) -> None:
    assert WorkerAddress.parse(text) == WorkerAddress(host, port)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no worker's address"),
        (":50052", "no worker's address"),
        ("http://box:1", "no worker's address"),
        ("a/b", "no worker's address"),
        ("two words", "no worker's address"),
        ("nul\0", "no worker's address"),
        ("box:", "port"),
        ("box:0", "port"),
        ("box:65536", "port"),
        ("box:+1", "port"),
        ("box:٣", "port"),
        ("box:" + "9" * 5000, "port"),
        ("fe80::1", "IPv6"),
        ("[fe80::1]:50052", "IPv6"),
    ],
)
def test_anything_else_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        WorkerAddress.parse(text)
    assert refused.value.param == "workers"


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = WorkerAddress.parse(text)
    except InvalidRequest:
        return
    assert WorkerAddress.parse(str(address)) == address


def test_as_many_as_ggml_keeps_and_none_twice() -> None:
    assert parse_workers([]) == ()
    sixteen = [f"10.0.0.{at}" for at in range(16)]
    assert [str(one) for one in parse_workers(sixteen)] == [f"{one}:50052" for one in sixteen]
    with pytest.raises(InvalidRequest, match="at most 16"):
        parse_workers([*sixteen, "10.0.0.16"])
    with pytest.raises(InvalidRequest, match="named twice"):
        parse_workers(["box", "box:50052"])


def test_a_file_names_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "workers"
    path.write_text("# in the attic\n10.0.0.2:50052  # the Pi\n\n10.0.0.3\n")
    assert read_workers(path) == ("10.0.0.2:50052", "10.0.0.3")


def test_a_file_that_names_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "workers"
    with pytest.raises(InvalidRequest, match="cannot be read: No such file"):
        read_workers(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        read_workers(path)
    path.write_text("# 10.0.0.2\n")
    with pytest.raises(InvalidRequest, match="names no worker"):
        read_workers(path)
