"""Layers on other machines: ggml's RPC devices, and the connections to them.

ggml's client ends the process when a connection breaks, and waits without end where a machine has
gone silently. Here its connections are told to notice that, and its last words are told before the
process is gone.
"""

from __future__ import annotations

import ctypes
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
from llama_cpp import llama_cpp as lib
from llama_cpp._ggml import libggml

from mistral_small_edge.llama.keep_alive import end_if_silent, greet_briefly, keep_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_small_edge.llama.model import WorkerShare

# What is computed on this machine whatever lies elsewhere: a token's logits are 25 times its state.
_STAYS = rb"^(output|token_embd)"

_ABORT = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_kept: list[object] = []  # what C calls back must live

for _name, _arguments, _result in (
    ("ggml_backend_rpc_add_server", [ctypes.c_char_p], ctypes.c_void_p),
    ("ggml_backend_reg_dev_get", [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_void_p),
    ("ggml_backend_cpu_buffer_type", [], ctypes.c_void_p),
    ("ggml_set_abort_callback", [_ABORT], ctypes.c_void_p),
):
    _function = getattr(libggml, _name)
    _function.argtypes, _function.restype = _arguments, _result


class _Override(ctypes.Structure):
    """llama.cpp's `llama_model_tensor_buft_override`: tensors by name, and whose memory they go to."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


class RemoteLayers:
    """Layers for workers, as llama.cpp takes them. To be held until the model is loaded.

    The first layers stay here; the others go to the workers in their order.
    """

    def __init__(self, shares: Sequence[WorkerShare]) -> None:
        devices = [_device(share.address) for share in shares]
        self._devices = (ctypes.c_void_p * (len(devices) + 1))(*devices, None)
        # The output counts as a layer of the last device, though its matrix is kept here.
        layers = [share.layers for share in shares]
        layers[-1] += 1
        self._split = (ctypes.c_float * lib.llama_max_devices())(*layers)
        self._count = sum(layers)
        self._overrides = (_Override * 2)(
            _Override(_STAYS, libggml.ggml_backend_cpu_buffer_type()), _Override(None, None)
        )

    def apply(self, params: Any) -> None:
        """Write them into `llama_model_params`."""
        params.devices = ctypes.addressof(self._devices)
        params.tensor_split = self._split
        params.n_gpu_layers = self._count
        params.tensor_buft_overrides = ctypes.addressof(self._overrides)


class Connections:
    """This process's connections to some workers, by their addresses as `host:port`."""

    def __init__(self, workers: Sequence[str]) -> None:
        self._names: dict[tuple[str, int], str] = {}
        for worker in workers:
            with suppress(OSError, UnicodeError):  # nobody can connect to that one
                self._names[_endpoint(worker)] = worker
        self._made: tuple[_Connection, ...] = ()

    def guard(self) -> None:
        """Have the system notice when a worker's machine is gone; to be called after each is made."""
        made = [one for one in self._made if one.is_open]
        for connection in psutil.Process().net_connections("tcp4"):
            name = self._names.get(connection.raddr[:2])  # () while it listens
            if name is None:
                continue
            with suppress(OSError):  # closed meanwhile: ggml makes several until it keeps one
                one = _Connection(name, connection.fd, _identity(connection.fd))
                if connection.status == psutil.CONN_SYN_SENT:
                    greet_briefly(one.fd)
                elif one not in made:
                    keep_alive(one.fd)
                    made.append(one)
        self._made = tuple(made)

    def end_silent(self) -> None:
        """Break those to machines that are gone while something was on the way to them."""
        for one in self._made:
            if one.is_open:
                with suppress(OSError):  # it is broken already
                    end_if_silent(one.fd)

    def broken(self) -> tuple[str, ...]:
        """The workers that are connected no more."""
        return tuple(one.worker for one in self._made if one.is_open and _is_broken(one.fd))


@dataclass(frozen=True, slots=True)
class _Connection:
    """One of ggml's. It is `fd` while that is the same socket: a number may be another's later."""

    worker: str
    fd: int
    socket: tuple[int, int]

    @property
    def is_open(self) -> bool:
        """Whether ggml has not closed it, be it broken or not."""
        try:
            return _identity(self.fd) == self.socket
        except OSError:
            return False


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def on_abort(tell: Callable[[str], None]) -> None:
    """Have `tell` called with ggml's last words before it ends the process."""

    def receive(words: bytes | None) -> None:
        tell((words or b"").decode("utf-8", "replace"))

    _kept.append(_ABORT(receive))
    libggml.ggml_set_abort_callback(_kept[-1])


def _device(worker: str) -> int:
    """A worker's first device: ggml would take more of them, and a worker of ours has one."""
    register = libggml.ggml_backend_rpc_add_server(worker.encode())
    device: int = libggml.ggml_backend_reg_dev_get(register, 0)
    return device


def _endpoint(worker: str) -> tuple[str, int]:
    host, _, port = worker.rpartition(":")
    return socket.gethostbyname(host), int(port)


def _is_broken(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as twin:
            return twin.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:  # reset or timed out
        return True
