"""What llama.cpp can compute layers on beside the processor."""

from __future__ import annotations

import ctypes

from llama_cpp._ggml import libggml

from mistral_small_edge.llama.log import redirect

# From ggml-backend.h, as of the llama.cpp that is linked.
_GPU, _IGPU = 1, 2
_OF_OTHERS = "RPC"  # devices of workers are told as GPUs, too

for _name, _arguments, _result in (
    ("ggml_backend_dev_count", [], ctypes.c_size_t),
    ("ggml_backend_dev_get", [ctypes.c_size_t], ctypes.c_void_p),
    ("ggml_backend_dev_type", [ctypes.c_void_p], ctypes.c_int),
    ("ggml_backend_dev_description", [ctypes.c_void_p], ctypes.c_char_p),
    ("ggml_backend_dev_backend_reg", [ctypes.c_void_p], ctypes.c_void_p),
    ("ggml_backend_reg_name", [ctypes.c_void_p], ctypes.c_char_p),
):
    _function = getattr(libggml, _name)
    _function.argtypes, _function.restype = _arguments, _result


def accelerators() -> tuple[str, ...]:
    """The accelerators of this machine that the linked build knows how to use, by their makers' names."""
    redirect()  # drivers are looked for at the first question, and ggml tells of it
    devices = map(libggml.ggml_backend_dev_get, range(libggml.ggml_backend_dev_count()))
    return tuple(
        _text(libggml.ggml_backend_dev_description(one)) for one in devices if _is_ours(one)
    )


def _is_ours(device: int) -> bool:
    maker = libggml.ggml_backend_reg_name(libggml.ggml_backend_dev_backend_reg(device))
    is_fast = libggml.ggml_backend_dev_type(device) in (_GPU, _IGPU)
    return is_fast and _text(maker) != _OF_OTHERS


def _text(words: bytes | None) -> str:
    return (words or b"").decode("utf-8", "replace")
