"""The socket: bound before there is a server, so that an address that is taken costs no waiting."""

from __future__ import annotations

import socket

from mistral_small_edge.errors import InvalidRequest


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any that is free.

    Raises:
        InvalidRequest: the address is taken, not this machine's, or not to be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidRequest(
            f"{host} port {port} cannot be listened on: {reason}", "port"
        ) from None
    # What is accepted takes after it. asyncio would set this itself, but not where the protocol was
    # left to the system: small answers would wait 40 ms for the client's acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a client on this machine finds it."""
    host, port = listening.getsockname()[:2]
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - named, not bound
    named = anywhere.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{named}:{port}"
