"""ggml's RPC server: what another machine's llama.cpp computes on, in this process.

It prints on stdout who comes and goes, serves one client at a time, and ends the process on input that
makes no sense. It has no end of its own.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

import psutil
from llama_cpp._ggml import libggml

from mistral_small_edge.errors import WorkerFailed
from mistral_small_edge.llama import log
from mistral_small_edge.llama.keep_alive import end_if_silent, keep_alive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# From ggml-backend.h, as of the llama.cpp that is linked.
_CPU, _GPU, _IGPU = 0, 1, 2
_GET_MEMORY = 2  # the function's place in a device's struct: ggml-backend-impl.h
_LOOK_EVERY = 2.0  # seconds

_SIZES = ctypes.POINTER(ctypes.c_size_t)
_MEMORY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _SIZES, _SIZES)


def serve(
    address: str,
    threads: int,
    cache: Path | None,
    memory: Callable[[int, int], tuple[int, int]],
) -> None:
    """Lend one device, an accelerator if there is one, else the CPU; for as long as the process lives.

    Returns only if it cannot listen there; why, it has printed.

    Args:
        address: an IPv4 address and a port, as `127.0.0.1:50052`.
        cache: a folder where large tensors are kept under their hashes; it may come and go.
        memory: makes of what an accelerator says, free and total bytes, what clients are told; of the
            CPU it is given zeros: ggml knows what is built in, not what may be used.

    Raises:
        WorkerFailed: this llama.cpp was built without RPC.
    """
    log.redirect()
    if not hasattr(libggml, "ggml_backend_rpc_start_server"):
        raise WorkerFailed(address, "the llama.cpp that is installed was built without RPC")
    device = _device()
    port = int(address.rpartition(":")[2])
    told = _telling(device, memory, port)
    Thread(target=_look_after, args=(port,), name="clients", daemon=True).start()
    start = libggml.ggml_backend_rpc_start_server
    start.restype = None
    start.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_void_p),
    ]
    folder = None if cache is None else os.fsencode(cache)
    start(address.encode(), folder, threads, 1, (ctypes.c_void_p * 1)(device))
    del told  # until here C called it


def _device() -> int:
    by_type = libggml.ggml_backend_dev_by_type
    by_type.restype, by_type.argtypes = ctypes.c_void_p, [ctypes.c_int]
    found: int = by_type(_GPU) or by_type(_IGPU) or by_type(_CPU)
    return found


def _telling(device: int, memory: Callable[[int, int], tuple[int, int]], port: int) -> object:
    """Have `memory` decide what the device says of itself; the result must outlive that."""
    type_of = libggml.ggml_backend_dev_type
    type_of.restype, type_of.argtypes = ctypes.c_int, [ctypes.c_void_p]
    functions = ctypes.cast(device, ctypes.POINTER(ctypes.c_void_p))
    own = None if type_of(device) == _CPU else _MEMORY(functions[_GET_MEMORY] or 0)

    def tell(
        asked: int, free: ctypes._Pointer[ctypes.c_size_t], total: ctypes._Pointer[ctypes.c_size_t]
    ) -> None:
        _keep_alive(port)  # every client asks, and ggml does not tell when one comes
        free[0] = total[0] = 0
        if own is not None:
            own(asked, free, total)
        free[0], total[0] = memory(free[0], total[0])

    callback = _MEMORY(tell)
    functions[_GET_MEMORY] = ctypes.cast(callback, ctypes.c_void_p).value
    return callback, own


def _keep_alive(port: int) -> None:
    """Have the system notice clients that are gone: those at `port`, and all that come later."""
    for descriptor in _connections(port):
        with suppress(OSError):
            keep_alive(descriptor)


def _look_after(port: int) -> None:
    """Notice those that go while something is on the way to them; ggml would wait for a quarter hour."""
    waiting = Event()
    while not waiting.wait(_LOOK_EVERY):
        for descriptor in _connections(port):
            with suppress(OSError):  # it is gone already
                end_if_silent(descriptor)


def _connections(port: int) -> list[int]:
    with suppress(psutil.Error, OSError):
        found = psutil.Process().net_connections("tcp4")
        return [one.fd for one in found if one.laddr.port == port]
    return []
