"""Where files go that may be lost, and those that may not, on each platform."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mistral_small_edge import places


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/home/me/.cache/mistral-small-edge"),
        ("darwin", {}, "/home/me/Library/Caches/mistral-small-edge"),
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/mistral-small-edge"),
        ("darwin", {"XDG_CACHE_HOME": "/caches"}, "/caches/mistral-small-edge"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/mistral-small-edge"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/me/.cache/mistral-small-edge"),
        ("linux", {"MISTRAL_SMALL_EDGE_CACHE": "/disk", "XDG_CACHE_HOME": "/caches"}, "/disk"),
        ("linux", {"MISTRAL_SMALL_EDGE_CACHE": "~/disk"}, "/home/me/disk"),
        ("linux", {"MISTRAL_SMALL_EDGE_CACHE": ""}, "/home/me/.cache/mistral-small-edge"),
    ],
)
def test_the_cache_directory(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "MISTRAL_SMALL_EDGE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert places.cache_directory() == Path(expected)
    assert places.prompts() == Path(expected) / "prompts"
    assert places.images() == Path(expected) / "images"
    assert places.tensors() == Path(expected) / "tensors"


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/home/me/.local/share/mistral-small-edge"),
        ("darwin", {}, "/home/me/Library/Application Support/mistral-small-edge"),
        ("darwin", {"XDG_DATA_HOME": "/data"}, "/data/mistral-small-edge"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/mistral-small-edge"),
        ("linux", {"MISTRAL_SMALL_EDGE_DATA": "~/disk", "XDG_DATA_HOME": "/data"}, "/home/me/disk"),
    ],
)
def test_the_data_directory(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_DATA_HOME", "MISTRAL_SMALL_EDGE_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert places.data_directory() == Path(expected)


def test_no_home_is_an_error_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "MISTRAL_SMALL_EDGE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(OSError, match="home directory"):
        places.prompts()


def test_tests_leave_the_users_own_alone(cache_folder: Path) -> None:
    assert places.cache_directory() == cache_folder
