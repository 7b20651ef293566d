"""Notes of running servers: there while they run, gone when they are, never half there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from mistral_small_edge.running import RunningServer, announced, running_servers

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:8080"


@pytest.fixture
def server(tmp_path: Path) -> RunningServer:
    return RunningServer.this_process(URL, tmp_path / "model.gguf", has_key=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "servers"


def test_a_server_is_found_while_it_runs(server: RunningServer, folder: Path) -> None:
    assert running_servers(folder) == []
    with announced(server, folder):
        assert running_servers(folder) == [server]
        assert server.process == os.getpid()
    assert running_servers(folder) == []
    assert list(folder.iterdir()) == []


def test_only_the_user_may_read_it(server: RunningServer, folder: Path) -> None:
    with announced(server, folder):
        (note,) = folder.iterdir()
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_model_is_its_file_whatever_leads_to_it(tmp_path: Path) -> None:
    file = tmp_path / "blob"
    file.touch()
    link = tmp_path / "model.gguf"
    link.symlink_to(file)
    assert RunningServer.this_process(URL, link, has_key=False).model == str(file.resolve())


def test_a_note_that_outlived_its_process_is_removed(server: RunningServer, folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    gone = replace(server, process=process.pid)
    anothers_now = replace(server, begun=server.begun - 60)
    for stale in (gone, anothers_now):
        context = announced(stale, folder)
        context.__enter__()
        assert list(folder.iterdir())
        assert running_servers(folder) == []
        assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="nobody can wait without noticing here")
def test_one_that_was_killed_is_gone_before_its_parent_has_noticed(
    server: RunningServer, folder: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        begun = psutil.Process(process.pid).create_time()
        killed = replace(server, process=process.pid, begun=begun)
        assert killed.lives
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not killed.lives


def test_another_machines_note_is_left_alone(server: RunningServer, folder: Path) -> None:
    with announced(replace(server, machine="elsewhere"), folder):
        assert running_servers(folder) == []
        assert list(folder.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1}', "\N{NULL}", "null"])
def test_what_is_no_note_is_removed(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(text)
    assert running_servers(folder) == []
    assert list(folder.iterdir()) == []


def test_it_is_whole_or_not_there(server: RunningServer, folder: Path) -> None:
    folder.mkdir(parents=True)
    left = folder / f"{server.process}.new"  # by one that was killed while it wrote
    left.write_text("{")
    with announced(server, folder):
        assert running_servers(folder) == [server]
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), announced(server, tmp_path / "file" / "servers"):
        pass
