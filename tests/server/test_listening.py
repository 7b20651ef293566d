"""The socket that the server listens on."""

from __future__ import annotations

import socket

from mistral_small_edge.server.listening import bind, url_of


def test_what_is_accepted_sends_at_once_what_it_is_given() -> None:
    with bind("127.0.0.1", 0) as listening:
        port = int(url_of(listening).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
