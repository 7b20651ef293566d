"""Where a worker may listen: an IPv4 address of this machine, and who can reach it there.

ggml's RPC server asks nobody who they are. So it matters more than anywhere else here.
"""

from __future__ import annotations

import socket
from enum import Enum
from typing import TYPE_CHECKING

import psutil

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.images.addresses import as_address, is_public
from mistral_small_edge.workers import WorkerAddress

if TYPE_CHECKING:
    from collections.abc import Iterable

_ANY = "0.0.0.0"  # noqa: S104 - asked about, not bound
_LAST_PORT = 65_535


class Reach(Enum):
    """Who can connect."""

    MACHINE = "programs on this machine"
    NETWORK = "machines on its networks"
    INTERNET = "anybody"


def listen_at(host: str, port: int) -> WorkerAddress:
    """The address that a host's name means here; the port as it is.

    Raises:
        InvalidRequest: it is IPv6 or unknown, or no port.
    """
    if not 0 <= port <= _LAST_PORT:
        raise InvalidRequest(f"--port is {port}; ports go up to {_LAST_PORT}", "--port")
    if ":" in host:
        raise InvalidRequest(f"--host is {host}; workers listen on IPv4 addresses only", "--host")
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(
            f"--host is {host}, which has no IPv4 address: {reason}", "--host"
        ) from None
    return WorkerAddress(str(found[0][4][0]), port)


def bound(address: WorkerAddress) -> WorkerAddress:
    """The address, once it was seen that it can be listened on; with a port, if it had none.

    Raises:
        InvalidRequest: it is taken, or not this machine's.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ggml does
        try:
            trial.bind((address.host, address.port))
            trial.listen(1)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidRequest(
                f"{address} cannot be listened on: {reason}; see --host and --port", "--port"
            ) from None
        return WorkerAddress(address.host, trial.getsockname()[1])


def reach_of(host: str, own: Iterable[str] | None = None) -> Reach:
    """Who can reach an IPv4 address of this machine.

    Args:
        own: this machine's addresses; None asks the system.
    """
    reached = [host] if host != _ANY else [*(_own_addresses() if own is None else own)]
    addresses = [address for text in reached if (address := as_address(text)) is not None]
    if any(map(is_public, addresses)):
        return Reach.INTERNET
    if host != _ANY and all(address.is_loopback for address in addresses):
        return Reach.MACHINE
    return Reach.NETWORK


def _own_addresses() -> list[str]:
    return [
        one.address
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
        if one.family == socket.AF_INET
    ]
