"""Calls into llama.cpp that are over in no time: they keep the interpreter's lock.

The bindings give the lock away around every call. That is right for a decode; around a call of
microseconds it only lets another thread in, and having the lock back may take milliseconds.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llama_cpp import llama_cpp as lib

_HELD = ctypes.PyDLL(lib._lib._name)


def _held(name: str) -> Any:
    usual = getattr(lib._lib, name)
    function = getattr(_HELD, name)
    function.argtypes, function.restype = usual.argtypes, usual.restype
    return function


get_logits_ith = _held("llama_get_logits_ith")
get_logits_ith.restype = ctypes.c_void_p  # where they begin; nobody needs an object for it
memory_seq_rm = _held("llama_memory_seq_rm")
