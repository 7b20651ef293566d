"""The map in CONTRIBUTING.md, held against the code: who imports whom, what is public, how long."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mistral_small_edge

PACKAGE = Path(mistral_small_edge.__file__).parent
NAME = "mistral_small_edge"
# A room is a folder of the package or a flat module; room -> the rooms it may import.
BASE = {"errors", "config", "sampling_params"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "sampling_params": {"errors"},
    "file_cache": set(),
    "places": set(),
    "running": set(),
    "cgroups": {"errors"},
    "host": {"errors", "cgroups"},
    "gguf": {"errors", "config"},
    "workers": {"errors", "gguf", "memory"},
    "memory": {"errors", "config", "host", "gguf"},
    "machines": {"errors", "cgroups", "host", "workers"},
    "advice": {"errors", "config", "gguf", "memory", "machines", "workers"},
    "store": {*BASE, "places"},
    "chat": {"errors", "sampling_params", "images"},
    "images": {"errors", "config"},
    "engine": {"errors", "sampling_params", "images", "file_cache"},
    "llama": {*BASE, "engine", "images", "file_cache"},
    "lending": {"errors", "file_cache", "host", "images", "llama", "workers"},
    "llm": {
        *BASE,
        "chat",
        "engine",
        "llama",
        "images",
        "store",
        "gguf",
        "host",
        "memory",
        "workers",
        "file_cache",
        "places",
    },
    "server": {*BASE, "llm", "chat", "images"},
    "batch": {"errors", "config", "llm", "chat", "images", "server"},
    "sessions": {"errors", "sampling_params", "chat", "images"},
    "quantization": {*BASE, "gguf", "llama", "llm", "chat"},
    "doctor": {*BASE, "gguf", "host", "cgroups", "bandwidth", "places", "store", "llama", "llm"},
    "bandwidth": {"cgroups", "host"},
    "benchmark": {*BASE, "llm", "chat", "host", "bandwidth"},
    "cli": {
        *BASE,
        "chat",
        "llm",
        "images",
        "server",
        "benchmark",
        "batch",
        "quantization",
        "doctor",
        "store",
        "gguf",
        "host",
        "memory",
        "machines",
        "advice",
        "bandwidth",
        "file_cache",
        "sessions",
        "places",
        "running",
        "workers",
        "lending",
    },
}
PUBLIC_FACE = {"__init__", "__main__"}
# A library -> the rooms that may know it.
LIBRARIES: dict[str, set[str]] = {
    "llama_cpp": {"llama"},
    "jinja2": {"chat"},
    "regex": {"llama"},
    "llguidance": {"llama", "llm"},
    "huggingface_hub": {"store"},
    "PIL": {"images"},
    "httpx2": {"store", "images", "llm"},
    "httpcore2": {"images"},
    "psutil": {"host", "cgroups", "running", "lending", "llama"},
    "fastapi": {"server"},
    "starlette": {"server"},
    "prometheus_client": {"server"},
    "uvicorn": {"server", "cli"},
    "matplotlib": {"benchmark"},
    "pydantic": {"llm", "server"},
    "pydantic_core": {"llm"},
    "typer": {"cli"},
    "rich": {"cli"},
    "prompt_toolkit": {"cli"},
    "click": set(),
    "threading": {"engine", "llama", "llm", "server", "lending"},
}
LONGEST_FILE = 600  # lines; ruff does not count them
LONGEST_FUNCTION = 80


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        room = inside.parts[0] if len(inside.parts) > 1 else inside.stem
        found.setdefault(room, []).append(path)
    return found


def imported(path: Path) -> set[str]:
    """Every module that the file names in an import, wherever it stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


ROOMS = rooms()


@pytest.mark.parametrize("room", sorted(ROOMS.keys() - PUBLIC_FACE))
def test_a_room_imports_only_what_the_map_allows(room: str) -> None:
    allowed = ALLOWED[room] | {room}
    for path in ROOMS[room]:
        ours = {name.split(".")[1] for name in imported(path) if name.startswith(f"{NAME}.")}
        assert ours <= allowed, f"{path}: {ours - allowed}"


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_known_only_where_the_map_says(library: str) -> None:
    knowing = {
        room
        for room, paths in ROOMS.items()
        for path in paths
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert knowing <= LIBRARIES[library]


def test_the_map_names_no_room_that_is_gone() -> None:
    assert ALLOWED.keys() == ROOMS.keys() - PUBLIC_FACE


def test_only_the_console_prints() -> None:
    for paths in ROOMS.values():
        for path in paths:
            text = path.read_text(encoding="utf-8")
            if path.name != "console.py":
                assert "stdout.write" not in text, path
                assert "stderr.write" not in text, path


def test_nothing_is_too_long_to_read() -> None:
    for paths in ROOMS.values():
        for path in paths:
            text = path.read_text(encoding="utf-8")
            assert text.count("\n") <= LONGEST_FILE, path
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    assert node.end_lineno is not None
                    assert node.end_lineno - node.lineno < LONGEST_FUNCTION, (path, node.name)


def test_every_module_says_what_it_holds() -> None:
    for paths in ROOMS.values():
        for path in paths:
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_the_public_names_are_sorted_and_there() -> None:
    names = mistral_small_edge.__all__
    # Constants' and classes' names sort as ruff sorts them: LLM first.
    assert sorted(names, key=lambda name: (not name.isupper(), name)) == names
    for name in names:
        assert hasattr(mistral_small_edge, name), name
    with pytest.raises(AttributeError, match="nosuch"):
        mistral_small_edge.nosuch  # noqa: B018
