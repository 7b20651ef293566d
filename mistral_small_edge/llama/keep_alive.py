"""Connections between machines that notice when the other one is gone, for ggml's sockets do not.

A machine that loses its power or its link says no farewell, and whoever waits for a word from it, or
for his own to be taken, waits without end. The system can be told to ask after an idle connection. One
with data on the way has to be looked at: a machine that is only slow still acknowledges what comes,
or says that it has no room.
"""

from __future__ import annotations

import os
import socket
import struct

# A machine is gone after so many seconds without a sign of it.
_IDLE, _INTERVAL, _PROBES = 4, 2, 3
_SILENT_MS = 1000 * (_IDLE + _INTERVAL * _PROBES)
_MOST_GREETINGS = 2  # after the first one: 7 seconds
_DARWIN_IDLE = 0x10  # TCP_KEEPALIVE, which Python's socket module did not name before 3.12
# Of Linux' `tcp_info`: questions without an answer (whether there is room now, or anybody at all),
# segments on the way, and milliseconds since something was acknowledged.
_TCP_INFO = struct.Struct("3xB20xI28xI")


def keep_alive(descriptor: int) -> None:
    """Have the system ask after the other end of a TCP socket, ours or C's, while it is idle.

    What a listening socket accepts takes after it.
    """
    with socket.socket(fileno=os.dup(descriptor)) as twin:
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = getattr(socket, "TCP_KEEPIDLE", _DARWIN_IDLE)
        twin.setsockopt(socket.IPPROTO_TCP, idle, _IDLE)
        twin.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
        twin.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)


def greet_briefly(descriptor: int) -> None:
    """Have a connection that is being made given up sooner than after minutes; of use on Linux alone."""
    if hasattr(socket, "TCP_SYNCNT"):
        with socket.socket(fileno=os.dup(descriptor)) as twin:
            twin.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, _MOST_GREETINGS)


def end_if_silent(descriptor: int) -> None:
    """Break a connection whose data nobody has acknowledged for long; of use on Linux alone.

    Not TCP_USER_TIMEOUT: that breaks it as well where the other end is there, and has no room.

    Raises:
        OSError: it is broken already.
    """
    if not hasattr(socket, "TCP_INFO"):
        return
    with socket.socket(fileno=os.dup(descriptor)) as twin:
        told = twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        unanswered, on_the_way, silent_ms = _TCP_INFO.unpack(told)
        if (on_the_way and silent_ms > _SILENT_MS) or unanswered > _PROBES:
            twin.shutdown(socket.SHUT_RDWR)
