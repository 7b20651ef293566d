"""Machines by name, by size, and the one laid out in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.machines import (
    GIB,
    PRESETS,
    SYSTEM_BYTES,
    another_machine,
    free_bytes,
    this_machine,
)
from tests.test_host import lay_out

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "gib"),
    [("16GB", 16), ("16 GiB", 16), ("16g", 16), ("7.5GB", 7.5), (" 512 gb ", 512)],
)
def test_a_size_is_as_memory_is_sold(text: str, gib: float) -> None:
    machine = another_machine(text)
    assert machine.host.total_memory == gib * GIB
    assert machine.host.available_memory == gib * GIB - SYSTEM_BYTES
    assert machine.bandwidth is None
    assert not machine.is_here


@pytest.mark.parametrize("text", ["", "16", "16MB", "0GB", "-1GB", "1e9GB", "99999GB", "pi6", "GB"])
def test_what_is_no_machine_shows_the_names(text: str) -> None:
    with pytest.raises(InvalidRequest, match="pi5-16gb") as caught:
        another_machine(text)
    assert caught.value.param == "--for"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_what_its_name_says(name: str) -> None:
    machine = another_machine(name.upper())
    assert machine.name == name
    assert machine.host.total_memory == int(name.rpartition("-")[2].removesuffix("gb")) * GIB
    assert 0 < machine.host.available_memory < machine.host.total_memory
    assert machine.bandwidth is not None
    assert 1e9 < machine.bandwidth < 1e12
    assert machine.bandwidth_source
    assert machine.metal == name.startswith("mac")


@given(st.integers(1, 8192))
def test_with_nothing_else_running_there_is_no_less(gib: int) -> None:
    machine = another_machine(f"{gib}GB")
    alone = machine.emptied()
    assert machine.host.available_memory <= alone.host.available_memory < gib * GIB


def test_a_container_on_this_machine(tmp_path: Path) -> None:
    container = {
        "proc/self/cgroup": "0::/",
        "proc/self/mountinfo": "31 30 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw",
        "sys/fs/cgroup/memory.max": "300000000",
        "sys/fs/cgroup/memory.current": "100000000",
    }
    granted = this_machine(tmp_path, lay_out(tmp_path, container))
    assert granted.memory_limit == granted.host.total_memory == 300_000_000
    assert granted.is_here
    assert granted.bandwidth is None
    lay_out(tmp_path, {"sys/fs/cgroup/memory.max": str(1 << 62)})  # more than there is: no limit
    assert this_machine(tmp_path, tmp_path).memory_limit is None


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    there = free_bytes(tmp_path)
    assert there is not None
    found = free_bytes(tmp_path / "models" / "hub")
    assert found is not None
    assert abs(found - there) < 1 << 30  # others write meanwhile
