"""How the llama.cpp that is linked was built: its version, and what of a processor it uses."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from llama_cpp import llama_cpp as lib


@dataclass(frozen=True, slots=True)
class Build:
    """A build's facts.

    Attributes:
        version: of ggml, and the commit of llama.cpp; as far as it tells.
        flags: what it uses, in llama.cpp's words: `AVX2`, `DOTPROD`, `REPACK`, …
        devices: what it computes on, `CPU` and perhaps `Metal` or another.
        rpc: whether it can share a model with other machines.
    """

    version: str
    flags: frozenset[str]
    devices: tuple[str, ...]
    rpc: bool


def linked_build() -> Build:
    """Of the library in this process."""
    told = [_text("ggml_version"), _text("ggml_commit")]
    flags, devices = parse_system_info(lib.llama_print_system_info().decode())
    return Build(
        version=" ".join(filter(None, told)),
        flags=flags,
        devices=devices,
        rpc=bool(lib.llama_supports_rpc()),
    )


def parse_system_info(told: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Of `CPU : AVX2 = 1 | REPACK = 1 | ` what is on, and the devices."""
    parts = [part.rpartition(":") for part in told.split("|")]
    pairs = (flag.partition("=") for _, _, flag in parts)
    flags = frozenset(name.strip() for name, _, value in pairs if value.strip() not in ("", "0"))
    return flags, tuple(device.strip() for device, colon, _ in parts if colon)


def _text(function: str) -> str:
    """What a C function without arguments says; nothing if the bindings' library lacks it."""
    try:
        call = getattr(lib._lib, function)
    except AttributeError:
        return ""
    call.restype = ctypes.c_char_p
    return (call() or b"").decode("utf-8", "replace")
